/* Caches in storage that the program has set aside. */
#include "check.h"
#include <pthread.h>

struct frame {
    unsigned int length;
    unsigned char bytes[600];
};

static struct kmem_cache_opaque frame_storage, other_storage, raced_storage;
#define frames to_kmem_cache(&frame_storage)
#define others to_kmem_cache(&other_storage)

/* The address is a constant: it may stand in an initialiser. */
static struct kmem_cache *const known_at_link_time = to_kmem_cache(&frame_storage);

static void life(void)
{
    CHECK(kmem_cache_is_free(frames) && kmem_cache_size(frames) == 0 && errno == ENXIO);
    CHECK(kmem_cache_destroy(frames) == -ENXIO && kmem_cache_shrink(frames) == 1);
    CHECK(!kmem_cache_zalloc(frames, GFP_KERNEL) && errno == ENXIO);
    for (int round = 0; round < 3; round++) {
        /* A setup that fails leaves the storage as it was. */
        CHECK(kmem_cache_setup(frames, "no name", 64, 0, 0, NULL) == -EINVAL && kmem_cache_is_free(frames));
        CHECK(KMEM_CACHE_SETUP(frames, frame, SLAB_HWCACHE_ALIGN) == 0 && !kmem_cache_is_free(frames));
        CHECK(KMEM_CACHE_SETUP(frames, frame, 0) == -EALREADY && strstr(haybarn_error(), "'frame'"));
        CHECK(kmem_cache_setup(others, "frame", 64, NULL, 0) == -EEXIST);
        CHECK(kmem_cache_size(frames) == sizeof(struct frame));
        void *objects[100];
        for (int at = 0; at < 100; at++) {
            objects[at] = kmem_cache_alloc(known_at_link_time, GFP_KERNEL);
            CHECK(objects[at] && (uintptr_t)objects[at] % 64 == 0);
            memset(objects[at], at, sizeof(struct frame));
        }
        for (int at = 0; at < 100; at++)
            CHECK(all_are(objects[at], at, sizeof(struct frame)) && kmem_cache_check(frames, objects[at]) == 0);
        CHECK(kmem_cache_destroy(frames) == -EBUSY && !kmem_cache_is_free(frames));
        for (int at = 0; at < 100; at++)
            kmem_cache_free(frames, objects[at]);
        CHECK(kmem_cache_destroy(frames) == 0 && kmem_cache_is_free(frames));
        errno = 0;
        CHECK(!kmem_cache_alloc(frames, GFP_KERNEL) && errno == ENXIO);
        CHECK(!kmem_cache_alloc_nolock(frames, GFP_KERNEL) && kmem_cache_destroy(frames) == -ENXIO);
    }
}

static void wrong_storage(void)
{
    char *memory = (char *)kzalloc(256, GFP_KERNEL);
    struct kmem_cache *odd = (struct kmem_cache *)(memory + 8), *made = kmem_cache_create("made", 64, 0, 0, NULL);
    CHECK(kmem_cache_setup(odd, "odd", 64, 0, 0, NULL) == -EINVAL);
    CHECK(kmem_cache_setup(NULL, "odd", 64, 0, 0, NULL) == -EINVAL);
    CHECK(kmem_cache_setup(made, "odd", 64, 0, 0, NULL) == -EALREADY && !kmem_cache_is_free(made));
    CHECK(kmem_cache_destroy(made) == 0);
    /* Storage in the library's own memory is as good as any. */
    struct kmem_cache *inside = (struct kmem_cache *)memory;
    CHECK(kmem_cache_setup(inside, "inside", 64, 0, 0, NULL) == 0);
    void *object = kmem_cache_alloc(inside, GFP_KERNEL);
    CHECK(object && kmem_cache_size(inside) == 64);
    kmem_cache_free(inside, object);
    CHECK(kmem_cache_destroy(inside) == 0);
    kfree(memory);
}

/* Merging: storage may be joined by later caches, but joins none; one with an owner shares another's slabs. */
static int released;
static char module;

static void release(void *owner)
{
    CHECK(owner == &module && !kmem_cache_alloc_nolock(frames, GFP_KERNEL));
    released++;
}

static void sharing_and_owners(void)
{
    CHECK(kmem_cache_setup(frames, "first", 200, 0, 0, NULL) == 0);
    CHECK(kmem_cache_setup(others, "second", 200, 0, 0, NULL) == 0);
    struct kmem_cache *joins = kmem_cache_create("joins", 197, 0, 0, NULL);
    void *object = kmem_cache_zalloc(joins, GFP_KERNEL);
    CHECK(object && kmem_cache_size(joins) == 197 && kmem_cache_check(frames, object) == 0);
    CHECK(kmem_cache_check(others, object) == -EFAULT);
    /* The storage of the slabs lives as long as anybody uses them. */
    CHECK(kmem_cache_destroy(frames) == 0 && kmem_cache_is_free(frames));
    kmem_cache_free(joins, object);
    CHECK(kmem_cache_destroy(joins) == 0 && kmem_cache_destroy(others) == 0);

    struct kmem_cache_args args = {0};
    args.owner = &module;
    args.release = release;
    CHECK(kmem_cache_setup(frames, "a bad name", 200, &args, 0) == -EINVAL && released == 0);
    CHECK(kmem_cache_setup(frames, "owned", 200, &args, 0) == 0 && released == 0);
    joins = kmem_cache_create("joins", 200, 0, 0, NULL);
    object = kmem_cache_alloc(joins, GFP_KERNEL);
    CHECK(kmem_cache_check(frames, object) == 0);
    CHECK(kmem_cache_destroy(frames) == 0 && released == 1 && kmem_cache_is_free(frames));
    kmem_cache_free(joins, object);
    CHECK(kmem_cache_destroy(joins) == 0 && released == 1);
}

static void *race(void *wins)
{
    int done = kmem_cache_setup(to_kmem_cache(&raced_storage), "raced", 64, 0, 0, NULL);
    CHECK(done == 0 || done == -EALREADY);
    if (done == 0)
        __atomic_add_fetch((int *)wins, 1, __ATOMIC_RELAXED);
    void *object = kmem_cache_alloc(to_kmem_cache(&raced_storage), GFP_KERNEL);
    CHECK(object);
    kmem_cache_free(to_kmem_cache(&raced_storage), object);
    return NULL;
}

static void threads_meet(void)
{
    for (int round = 0; round < 50; round++) {
        pthread_t threads[4];
        int wins = 0;
        for (int n = 0; n < 4; n++)
            CHECK(pthread_create(&threads[n], NULL, race, &wins) == 0);
        for (int n = 0; n < 4; n++)
            CHECK(pthread_join(threads[n], NULL) == 0);
        CHECK(wins == 1 && kmem_cache_destroy(to_kmem_cache(&raced_storage)) == 0);
    }
}

static void usercopy(void)
{
    CHECK(KMEM_CACHE_SETUP_USERCOPY(frames, frame, 0, bytes) == 0 && kmem_cache_destroy(frames) == 0);
    struct kmem_cache *part = KMEM_CACHE_USERCOPY(frame, 0, length);
    CHECK(part && kmem_cache_destroy(part) == 0);
    CHECK(!kmem_cache_create_usercopy("outside", 64, 0, 0, 60, 8, NULL) && errno == EINVAL);
    CHECK(!kmem_cache_create_usercopy("nothing", 64, 0, 0, 8, 0, NULL) && errno == EINVAL);
}

int main(void)
{
    life();
    wrong_storage();
    sharing_and_owners();
    threads_meet();
    usercopy();
    puts("statics ok");
    return 0;
}
