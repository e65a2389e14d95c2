/* Caches: made, used, ended, and everything that is refused. */
#include "check.h"

struct thing {
    long number;
    char text[40];
    struct rcu_head rcu;
};

static void life(void)
{
    struct kmem_cache *things = KMEM_CACHE(thing, SLAB_HWCACHE_ALIGN);
    CHECK(things && kmem_cache_size(things) == sizeof(struct thing));
    struct thing *one = (struct thing *)kmem_cache_alloc(things, GFP_KERNEL);
    struct thing *two = (struct thing *)kmem_cache_zalloc(things, GFP_KERNEL);
    struct thing *three = (struct thing *)kmem_cache_alloc_node(things, GFP_KERNEL, 0);
    CHECK(one && two && three && one != two && two != three && all_are(two, 0, sizeof *two));
    CHECK((uintptr_t)one % 64 == 0);
    CHECK(kmem_cache_check(things, two) == 0 && kmem_cache_check(things, &two->text) == -EFAULT);
    struct slabinfo row;
    CHECK(get_slabinfo(things, &row) == 0 && row.active_objs == 3 && row.num_slabs >= 1 && row.num_objs >= 3);
    CHECK(kmem_cache_charge(one, GFP_KERNEL));
    CHECK(kmem_cache_destroy(things) == -EBUSY && strstr(haybarn_error(), "3 live object"));
    kmem_cache_free(things, one);
    kmem_cache_free(things, two);
    kfree(three);
    kmem_cache_free(things, NULL);
    CHECK(get_slabinfo(things, &row) == 0 && row.active_objs == 0);
    CHECK(kmem_cache_shrink(things) == 0);
    CHECK(kmem_cache_destroy(things) == 0 && kmem_cache_destroy(NULL) == 0);
}

static void refusals(void)
{
    struct kmem_cache_args odd = {0};
    odd.align = 3;
    errno = 0;
    CHECK(!kmem_cache_create("odd", 64, &odd, 0) && errno == EINVAL && strstr(haybarn_error(), "align = 3"));
    CHECK(!kmem_cache_create("a b", 64, 0, 0, NULL) && errno == EINVAL);
    CHECK(!kmem_cache_create(NULL, 64, 0, 0, NULL) && errno == EINVAL);
    CHECK(!kmem_cache_create("zero", 0, 0, 0, NULL) && errno == EINVAL);
    CHECK(!kmem_cache_create("flags", 64, 0, 1u << 30, NULL) && errno == EINVAL);
    struct kmem_cache *plain = kmem_cache_create("plain", 64, 0, 0, NULL);
    CHECK(plain);
    CHECK(!kmem_cache_create("plain", 64, NULL, 0) && errno == EEXIST);
    CHECK(!kmem_cache_alloc(plain, 1u << 20) && errno == EINVAL);
    CHECK(!kmem_cache_alloc_node(plain, GFP_KERNEL, 77) && errno == EINVAL);
    CHECK(!kmem_cache_alloc_bulk(plain, GFP_KERNEL, 3, NULL) && errno == EINVAL);
    CHECK(kmem_cache_alloc_bulk(plain, GFP_KERNEL, 0, NULL) == 0);
    CHECK(kmem_cache_size(NULL) == 0 && errno == EINVAL);
    haybarn_set_reporter(count_report);
    char *alien = (char *)malloc(64);
    int before = reports;
    errno = 0;
    kmem_cache_free(plain, alien);
    CHECK(reports == before + 1 && errno == EFAULT && strstr(last_report, "foreign"));
    void *mixed[] = {kmem_cache_alloc(plain, GFP_KERNEL), alien};
    kmem_cache_free_bulk(plain, 2, mixed);
    CHECK(reports == before + 2);
    CHECK(kmem_cache_free_rcu(plain, alien) == -EFAULT && !kmem_cache_charge(alien, GFP_KERNEL));
    struct slabinfo row;
    CHECK(get_slabinfo(plain, &row) == 0 && row.active_objs == 1);
    kmem_cache_free(plain, mixed[0]);
    haybarn_set_reporter(NULL);
    free(alien);
    CHECK(kmem_cache_destroy(plain) == 0);
}

static void bulk_and_sheaves(void)
{
    struct kmem_cache *cache = kmem_cache_create("bulk", 128, 0, SLAB_NO_MERGE, NULL);
    void *objects[100];
    CHECK(kmem_cache_alloc_bulk(cache, GFP_KERNEL, 100, objects) == 100);
    for (int at = 0; at < 100; at++)
        memset(objects[at], at, 128);
    for (int at = 0; at < 100; at++)
        CHECK(all_are(objects[at], at, 128));
    kmem_cache_free_bulk(cache, 50, objects);
    kmem_cache_free_bulk(NULL, 50, objects + 50);

    CHECK(!kmem_cache_prefill_sheaf(cache, GFP_KERNEL, 0) && errno == EINVAL);
    struct slab_sheaf *sheaf = kmem_cache_prefill_sheaf(cache, GFP_KERNEL, 10);
    CHECK(sheaf && kmem_cache_sheaf_size(sheaf) >= 10);
    CHECK(kmem_cache_destroy(cache) == -EBUSY);
    while (kmem_cache_sheaf_size(sheaf) > 0) {
        void *object = kmem_cache_alloc_from_sheaf(cache, GFP_KERNEL, sheaf);
        CHECK(object);
        kmem_cache_free(cache, object);
    }
    errno = 0;
    CHECK(!kmem_cache_alloc_from_sheaf(cache, GFP_KERNEL, sheaf) && errno == ENODATA);
    CHECK(kmem_cache_refill_sheaf(cache, GFP_KERNEL, &sheaf, 500) == 0 && kmem_cache_sheaf_size(sheaf) >= 500);
    void *zeroed = kmem_cache_alloc_from_sheaf(cache, GFP_KERNEL | __GFP_ZERO, sheaf);
    CHECK(zeroed && all_are(zeroed, 0, 128));
    kmem_cache_free(cache, zeroed);
    struct kmem_cache *other = kmem_cache_create("other", 128, 0, SLAB_NO_MERGE, NULL);
    CHECK(!kmem_cache_alloc_from_sheaf(other, GFP_KERNEL, sheaf) && errno == EINVAL);
    kmem_cache_return_sheaf(cache, GFP_KERNEL, sheaf);
    kmem_cache_return_sheaf(cache, GFP_KERNEL, NULL);
    CHECK(kmem_cache_destroy(cache) == 0 && kmem_cache_destroy(other) == 0);
}

static int constructed, destructed, fails_at;

static void ctor(void *object)
{
    constructed++;
    ((struct thing *)object)->number = 4711;
}

static int try_ctor(void *object)
{
    if (fails_at && constructed >= fails_at)
        return -ENOSPC;
    ctor(object);
    return 0;
}

static void dtor(void *object)
{
    CHECK(((struct thing *)object)->number == 4711);
    destructed++;
}

static void constructors(void)
{
    struct kmem_cache *cache = kmem_cache_create("ctor", sizeof(struct thing), 0, 0, ctor);
    struct thing *thing = (struct thing *)kmem_cache_alloc(cache, GFP_KERNEL);
    CHECK(thing && thing->number == 4711 && constructed > 1);
    errno = 0;
    CHECK(!kmem_cache_zalloc(cache, GFP_KERNEL) && errno == EINVAL);
    kmem_cache_free(cache, thing);
    CHECK(kmem_cache_destroy(cache) == 0 && destructed == 0);

    struct kmem_cache_args args = {0};
    args.try_ctor = try_ctor;
    args.dtor = dtor;
    constructed = 0;
    cache = kmem_cache_create("dtor", sizeof(struct thing), &args, 0);
    CHECK(cache);
    thing = (struct thing *)kmem_cache_alloc(cache, GFP_KERNEL);
    CHECK(thing && thing->number == 4711);
    kmem_cache_free(cache, thing);
    CHECK(kmem_cache_shrink(cache) == 0 && constructed == destructed);
    constructed = destructed = 0;
    fails_at = 3;
    errno = 0;
    CHECK(!kmem_cache_alloc(cache, GFP_KERNEL) && errno == ENOSPC && constructed == 3 && destructed == 3);
    errno = 0;
    CHECK(!kmem_cache_prefill_sheaf(cache, GFP_KERNEL, 2) && errno == ENOSPC);
    CHECK(kmem_cache_destroy(cache) == 0);
    args.ctor = ctor;
    CHECK(!kmem_cache_create("both", 64, &args, 0) && errno == EINVAL);
    args.ctor = NULL;
    args.try_ctor = NULL;
    CHECK(!kmem_cache_create("dtor alone", 64, &args, 0) && errno == EINVAL);
}

static void attributes(void)
{
    char text[4096];
    struct kmem_cache *first = kmem_cache_create("seen", 96, 0, SLAB_RECLAIM_ACCOUNT, NULL);
    struct kmem_cache *second = kmem_cache_create("seen-too", 96, 0, SLAB_RECLAIM_ACCOUNT, NULL);
    void *object = kmem_cache_alloc(first, GFP_KERNEL);
    long length = haybarn_sysfs_read("/seen/object_size", text, sizeof text);
    CHECK(length >= 2 && atoi(text) == 96);
    CHECK(haybarn_sysfs_read("/seen/object_size", NULL, 0) == length);
    CHECK(haybarn_sysfs_read("/seen/object_size", text, 2) == length && !strcmp(text, "9"));
    CHECK(haybarn_sysfs_readlink("/seen-too/primary", text, sizeof text) > 0 && !strcmp(text, "../seen"));
    CHECK(haybarn_sysfs_list("/", text, sizeof text) > 0 && strstr(text, "seen\nseen-too\n"));
    CHECK(haybarn_sysfs_write("/seen/min_partial", "7") == 0);
    CHECK(haybarn_sysfs_read("/seen-too/min_partial", text, sizeof text) > 0 && atoi(text) == 7);
    CHECK(haybarn_sysfs_write("/seen/order", "1") == -EACCES && haybarn_sysfs_write("/seen/min_partial", "x") == -EINVAL);
    CHECK(haybarn_sysfs_read("/none/order", text, sizeof text) == -1 && errno == ENOENT);
    CHECK(haybarn_sysfs_read("/seen", text, sizeof text) == -1 && errno == EISDIR && haybarn_sysfs_read(NULL, text, 1) == -1);
    CHECK(haybarn_slabinfo(text, sizeof text) > 0 && strstr(text, "seen"));
    haybarn_set_reporter(count_report);
    CHECK(kmem_dump_obj(object) && strstr(last_report, "cache 'seen', 96 bytes"));
    void *pages = kmalloc(20000, GFP_KERNEL);
    CHECK(kmem_dump_obj(pages) && strstr(last_report, "whole pages, 32768 bytes"));
    errno = 0;
    CHECK(!kmem_dump_obj(text) && errno == EFAULT && !kmem_dump_obj((char *)object + 1) && !kmem_dump_obj(NULL));
    haybarn_set_reporter(NULL);
    kfree(pages);
    kmem_cache_free(second, object);
    CHECK(kmem_cache_destroy(first) == 0 && kmem_cache_destroy(second) == 0);
}

static int called;

static void callback(struct rcu_head *head)
{
    struct thing *thing = (struct thing *)((char *)head - offsetof(struct thing, rcu));
    called += thing->number == 5;
    kfree(thing);
}

static void grace_periods(void)
{
    struct kmem_cache *cache = KMEM_CACHE(thing, SLAB_TYPESAFE_BY_RCU);
    struct thing *shared = NULL, *made = (struct thing *)kmem_cache_alloc(cache, GFP_KERNEL);
    made->number = 5;
    rcu_assign_pointer(shared, made);
    rcu_read_lock();
    CHECK(rcu_read_lock_held() && rcu_dereference(shared)->number == 5);
    CHECK(synchronize_rcu() == -EDEADLK && rcu_barrier() == -EDEADLK);
    unsigned long state = start_poll_synchronize_rcu();
    CHECK(!poll_state_synchronize_rcu(state));
    CHECK(kfree_rcu(made, rcu) == 0);
    CHECK(made->number == 5);
    rcu_read_unlock();
    CHECK(!rcu_read_lock_held() && cond_synchronize_rcu(state) == 0 && poll_state_synchronize_rcu(state));
    made = (struct thing *)kmem_cache_alloc(cache, GFP_KERNEL);
    CHECK(kmem_cache_free_rcu(cache, made) == 0 && kvfree_rcu_barrier_on_cache(cache) == 0);
    made = (struct thing *)kmem_cache_alloc(cache, GFP_KERNEL);
    made->number = 5;
    CHECK(call_rcu(&made->rcu, callback) == 0 && call_rcu(&made->rcu, NULL) == -EINVAL);
    CHECK(kvfree_rcu_mightsleep(kmalloc(100000, GFP_KERNEL)) == 0 && kfree_rcu_mightsleep((void *)NULL) == 0);
    CHECK(rcu_barrier() == 0 && called == 1 && synchronize_rcu() == 0);
    CHECK(kmem_cache_destroy(cache) == 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "panic")) {
        kmem_cache_create("no good", 64, 0, SLAB_PANIC, NULL);
        return 0;
    }
    life();
    refusals();
    bulk_and_sheaves();
    constructors();
    grace_periods();
    attributes();
    puts("caches ok");
    return 0;
}
