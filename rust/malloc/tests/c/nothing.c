/* What is no cache: NULL, and storage that no setup has seen. Every entry that takes a cache has its line here (programs.rs looks), but for
 * the hits of kmem_cache_alloc and kmem_cache_free, which read the first word of what they are given. */
#include "check.h"

static struct kmem_cache_opaque storage;

/* An entry's answer: its value, the number, and a text that says what is wrong. */
#define GIVES(call, value, number) \
    do { \
        errno = 0; \
        CHECK((call) == (value) && errno == (number) && haybarn_error()[0] != '\0'); \
    } while (0)

/* The same of an entry that returns nothing: it reports. */
#define REPORTS(call, number) \
    do { \
        int before = reports; \
        errno = 0; \
        call; \
        CHECK(reports == before + 1 && errno == (number)); \
    } while (0)

static void no_cache(struct kmem_cache *s, int number)
{
    void *mine = kmalloc(64, GFP_KERNEL), *array[2] = {mine, mine};
    struct slab_sheaf *sheaf = NULL;
    struct slabinfo row;
    struct kmem_cache *real = kmem_cache_create("real", 64, 0, SLAB_NO_MERGE, NULL);
    CHECK(mine && real);

    GIVES(kmem_cache_alloc(s, __GFP_ZERO), NULL, number);
    GIVES(kmem_cache_zalloc(s, GFP_KERNEL), NULL, number);
    GIVES(kmem_cache_alloc_node(s, GFP_KERNEL, NUMA_NO_NODE), NULL, number);
    GIVES(kmem_cache_alloc_node(s, GFP_KERNEL, 0), NULL, number);
    GIVES(kmem_cache_alloc_bulk(s, GFP_KERNEL, 2, array), 0, number);
    CHECK(array[0] == mine && array[1] == mine);
    GIVES(kmem_cache_prefill_sheaf(s, GFP_KERNEL, 8), NULL, number);
    GIVES(kmem_cache_shrink(s), 1, number);
    GIVES(kmem_cache_size(s), 0, number);
    GIVES(get_slabinfo(s, &row), -number, number);
    GIVES(kmem_cache_check(s, mine), -number, number);
    GIVES(kvfree_rcu_barrier_on_cache(s), -number, number);
    GIVES(kmem_cache_free_rcu(s, mine), -number, number);
    CHECK(kmem_cache_free_rcu(s, NULL) == 0);

    /* Sheaves of a real cache: they are as they were afterwards. */
    sheaf = kmem_cache_prefill_sheaf(real, GFP_KERNEL, 8);
    unsigned int size = sheaf ? kmem_cache_sheaf_size(sheaf) : 0;
    CHECK(size >= 8);
    GIVES(kmem_cache_alloc_from_sheaf(s, GFP_KERNEL, sheaf), NULL, number);
    GIVES(kmem_cache_refill_sheaf(s, GFP_KERNEL, &sheaf, 16), -number, number);
    REPORTS(kmem_cache_return_sheaf(s, GFP_KERNEL, sheaf), number);
    CHECK(kmem_cache_sheaf_size(sheaf) == size);
    kmem_cache_return_sheaf(real, GFP_KERNEL, sheaf);

    /* Frees: what is nothing is nobody's, what is malloc's is refused, what is the library's stays. */
    int before = reports;
    kmem_cache_free(s, NULL);
    kmem_cache_free_nolock(s, NULL);
    kmem_cache_return_sheaf(s, GFP_KERNEL, NULL);
    CHECK(reports == before);
    REPORTS(kmem_cache_free(s, &row), EFAULT);
    errno = 0;
    kmem_cache_free_nolock(s, &row);
    kmem_cache_free_nolock(s, mine);
    CHECK(reports == before + 3 && errno == 0 && ksize(mine) == 64);
    if (s) {
        REPORTS(kmem_cache_free_bulk(s, 1, array), number);
        CHECK(ksize(mine) == 64);
    }

    /* nolock leaves errno and the text to the code that it interrupts. */
    errno = 0;
    CHECK(!kmem_cache_alloc_nolock(s, GFP_KERNEL) && !kmem_cache_alloc_nolock(s, __GFP_ZERO) && errno == 0);
    kfree(mine);
    CHECK(kmem_cache_destroy(real) == 0);
}

static void no_buckets_and_no_sheaf(void)
{
    struct kmem_cache *real = kmem_cache_create("real", 64, 0, SLAB_NO_MERGE, NULL);
    struct slab_sheaf *none = NULL;
    GIVES(kmem_buckets_alloc(NULL, 64, GFP_KERNEL), NULL, EINVAL);
    GIVES(kmem_buckets_alloc(NULL, 100000, GFP_KERNEL), NULL, EINVAL);
    GIVES(kmem_buckets_valloc(NULL, 64, GFP_KERNEL), NULL, EINVAL);
    GIVES(kmem_buckets_valloc(NULL, 100000, GFP_KERNEL), NULL, EINVAL);
    CHECK(kmem_buckets_destroy(NULL) == 0);
    GIVES(kmem_buckets_create(NULL, 0, 0, 0, NULL), NULL, EINVAL);
    CHECK(kmem_cache_sheaf_size(NULL) == 0);
    GIVES(kmem_cache_alloc_from_sheaf(real, GFP_KERNEL, NULL), NULL, EINVAL);
    GIVES(kmem_cache_refill_sheaf(real, GFP_KERNEL, NULL, 1), -EINVAL, EINVAL);
    GIVES(kmem_cache_refill_sheaf(real, GFP_KERNEL, &none, 1), -EINVAL, EINVAL);
    CHECK(kmem_cache_destroy(real) == 0);
}

static void no_text_and_no_room(void)
{
    char text[8];
    GIVES(__kmem_cache_create_args(NULL, 64, NULL, 0), NULL, EINVAL);
    GIVES(__kmem_cache_create(NULL, 64, 0, 0, NULL), NULL, EINVAL);
    GIVES(kmem_cache_create_usercopy(NULL, 64, 0, 0, 0, 8, NULL), NULL, EINVAL);
    GIVES(haybarn_sysfs_read(NULL, text, sizeof text), -1, EINVAL);
    GIVES(haybarn_sysfs_readlink(NULL, text, sizeof text), -1, EINVAL);
    GIVES(haybarn_sysfs_list(NULL, text, sizeof text), -1, EINVAL);
    GIVES(haybarn_sysfs_write(NULL, "1"), -EINVAL, EINVAL);
    GIVES(haybarn_sysfs_write("/", NULL), -EINVAL, EINVAL);
    GIVES(call_rcu(NULL, NULL), -EINVAL, EINVAL);
    CHECK(haybarn_sysfs_list("/", NULL, 0) > 0 && haybarn_slabinfo(NULL, 0) > 0);
    CHECK(!kstrdup(NULL, 0) && !kmemdup(NULL, 8, 0) && kvfree_rcu_mightsleep(NULL) == 0 && ksize(NULL) == 0);
    GIVES(kmem_cache_charge(NULL, 0), false, EFAULT);
    GIVES(kmem_dump_obj(NULL), false, EFAULT);
}

static void no_storage(void)
{
    struct kmem_cache *unset = to_kmem_cache(&storage), *odd = (struct kmem_cache *)((char *)&storage + 8);
    GIVES(__kmem_cache_setup_args(NULL, "none", 64, NULL, 0), -EINVAL, EINVAL);
    GIVES(__kmem_cache_setup(NULL, "none", 64, 0, 0, NULL), -EINVAL, EINVAL);
    GIVES(kmem_cache_setup_usercopy(NULL, "none", 64, 0, 0, 0, 8, NULL), -EINVAL, EINVAL);
    GIVES(__kmem_cache_setup_args(odd, "odd", 64, NULL, 0), -EINVAL, EINVAL);
    GIVES(kmem_cache_is_free(NULL), false, EINVAL);
    CHECK(kmem_cache_is_free(unset));
    CHECK(kmem_cache_destroy(NULL) == 0);
    GIVES(kmem_cache_destroy(unset), -ENXIO, ENXIO);
    GIVES(get_slabinfo(odd, NULL), -EINVAL, EINVAL);
    /* Nothing above has touched it. */
    for (size_t at = 0; at < sizeof storage.words / sizeof *storage.words; at++)
        CHECK(storage.words[at] == 0);
}

int main(void)
{
    haybarn_set_reporter(count_report);
    no_cache(NULL, EINVAL);
    no_cache(to_kmem_cache(&storage), ENXIO);
    no_storage();
    no_buckets_and_no_sheaf();
    no_text_and_no_room();
    /* Storage whose cache has ended says so too, and there kmem_cache_alloc's hit reads slots that always miss. */
    CHECK(kmem_cache_setup(to_kmem_cache(&storage), "once", 64, 0, 0, NULL) == 0);
    CHECK(kmem_cache_destroy(to_kmem_cache(&storage)) == 0);
    no_cache(to_kmem_cache(&storage), ENXIO);
    GIVES(kmem_cache_alloc(to_kmem_cache(&storage), GFP_KERNEL), NULL, ENXIO);
    puts("nothing ok");
    return 0;
}
