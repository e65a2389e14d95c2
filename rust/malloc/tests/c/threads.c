/* Threads that pass each other objects of two caches and of kmalloc: whatever comes has the contents that its maker gave it. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 6, ROUNDS = 8000, PLACES = 256 };

struct block {
    unsigned long size, mark;
};

static struct kmem_cache *small, *large;
static struct block *places[PLACES];

static unsigned long mark_of(const struct block *block)
{
    return (unsigned long)block * 2654435761u ^ block->size;
}

static unsigned long next(unsigned long *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static struct block *make(unsigned long n)
{
    unsigned long size = n % 3 == 0 ? 64 : n % 3 == 1 ? 1024 : 16 + n % 20000;
    struct kmem_cache *cache = n % 3 == 0 ? small : large;
    struct block *block = (struct block *)(n % 3 == 2 ? kmalloc(size, GFP_KERNEL) : kmem_cache_alloc(cache, GFP_KERNEL));
    CHECK(block);
    memset(block, (int)size & 0xff, size);
    block->size = size;
    block->mark = mark_of(block);
    return block;
}

static void end(struct block *block, unsigned long n)
{
    CHECK(block->mark == mark_of(block));
    CHECK(all_are(block + 1, (int)block->size & 0xff, block->size - sizeof *block));
    if (n % 4 == 0)
        CHECK(kvfree_rcu_mightsleep(block) == 0);
    else if (block->size == 64)
        kmem_cache_free(small, block);
    else
        kfree(block);
}

static void *run(void *number)
{
    unsigned long seed = (unsigned long)number;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned long n = next(&seed);
        struct block *mine = make(n);
        struct block *old = __atomic_exchange_n(&places[next(&seed) % PLACES], mine, __ATOMIC_ACQ_REL);
        if (old)
            end(old, n >> 3);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    small = kmem_cache_create("threads-small", 64, 0, 0, NULL);
    large = kmem_cache_create("threads-large", 1024, 0, 0, NULL);
    CHECK(small && large);
    for (unsigned long n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, run, (void *)(n + 1)) == 0);
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    for (int at = 0; at < PLACES; at++)
        if (places[at])
            end(places[at], 1);
    CHECK(rcu_barrier() == 0);
    CHECK(kmem_cache_destroy(small) == 0 && kmem_cache_destroy(large) == 0);
    puts("threads ok");
    return 0;
}
