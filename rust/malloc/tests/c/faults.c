/* Every allocation of an object may fail (HAYBARN_FAIL_SLAB): the program hears of it, and nothing is lost. */
#include "check.h"

int main(void)
{
    struct kmem_cache *cache = kmem_cache_create("faults", 128, 0, SLAB_NO_MERGE, NULL);
    int failed = 0, got = 0;
    for (int round = 0; round < 2000; round++) {
        void *objects[20];
        errno = 0;
        void *object = round % 2 ? kmem_cache_alloc(cache, GFP_KERNEL) : kmem_cache_zalloc(cache, GFP_KERNEL);
        CHECK(object || (errno == ENOMEM && strstr(haybarn_error(), "out of memory")));
        failed += !object;
        got += !!object;
        kmem_cache_free(cache, object);
        errno = 0;
        if (kmem_cache_alloc_bulk(cache, GFP_KERNEL, 20, objects) == 20)
            kmem_cache_free_bulk(cache, 20, objects);
        else
            CHECK(errno == ENOMEM);
        errno = 0;
        struct slab_sheaf *sheaf = kmem_cache_prefill_sheaf(cache, GFP_KERNEL, 30);
        CHECK(sheaf || errno == ENOMEM);
        if (sheaf) {
            unsigned int before = kmem_cache_sheaf_size(sheaf);
            int refilled = kmem_cache_refill_sheaf(cache, GFP_KERNEL, &sheaf, 40);
            CHECK(refilled == 0 || (refilled == -ENOMEM && kmem_cache_sheaf_size(sheaf) == before));
        }
        kmem_cache_return_sheaf(cache, GFP_KERNEL, sheaf);
        errno = 0;
        char *text = kstrdup("some text", GFP_KERNEL);
        CHECK(text || errno == ENOMEM);
        char *longer = text ? (char *)krealloc(text, 1000, GFP_KERNEL) : NULL;
        CHECK(!text || !strcmp(longer ? longer : text, "some text"));
        kfree(longer ? longer : text);
        struct kmem_cache *other = kmem_cache_create("other", 64, 0, 0, NULL);
        CHECK(other || errno == ENOMEM);
        CHECK(kmem_cache_destroy(other) == 0);
    }
    struct slabinfo row;
    CHECK(get_slabinfo(cache, &row) == 0 && row.active_objs == 0);
    CHECK(failed > 100 && got > 100);
    CHECK(kmem_cache_destroy(cache) == 0);
    puts("faults ok");
    return 0;
}
