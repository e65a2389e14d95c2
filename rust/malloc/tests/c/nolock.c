/* A signal handler that allocates and frees in the caches that the interrupted code is using. */
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <time.h>

enum { KEPT = 64, SIZE = 192 };

static struct kmem_cache *cache;
static void *kept[KEPT];
static volatile unsigned long interruptions, taken, nothing;

static void fill(void *object, int byte)
{
    memset(object, byte, SIZE);
}

static void handler(int number)
{
    (void)number;
    int before = errno;
    unsigned long at = interruptions++ % KEPT;
    if (kept[at]) {
        if (!all_are(kept[at], 0x11, SIZE))
            abort();
        if (at % 2)
            kmem_cache_free_nolock(cache, kept[at]);
        else
            kfree_nolock(kept[at]);
        kept[at] = NULL;
    } else {
        kept[at] = at % 2 ? kmem_cache_alloc_nolock(cache, GFP_KERNEL) : kmalloc_nolock(SIZE, GFP_KERNEL, NUMA_NO_NODE);
        if (kept[at]) {
            fill(kept[at], 0x11);
            taken++;
        } else {
            nothing++;
        }
    }
    if (errno != before)
        abort();
}

/* On a busy machine the first interruptions may be long in coming. */
static int is_over(double passed, double seconds)
{
    int met = interruptions > 100 && taken > 0;
    return passed >= 60 || (passed >= seconds && met);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    CHECK(!kmalloc_nolock(SIZE, GFP_KERNEL, NUMA_NO_NODE)); /* nothing is there yet */
    cache = kmem_cache_create("nolock", SIZE, 0, 0, NULL);
    CHECK(cache);
    kfree(kmalloc(SIZE, GFP_KERNEL));
    CHECK(kmalloc_nolock(0, GFP_KERNEL, 0) == ZERO_SIZE_PTR && !kmalloc_nolock(100000, GFP_KERNEL, 0));
    CHECK(!kmalloc_nolock(SIZE, GFP_KERNEL, 999) && !kmalloc_nolock(SIZE, 1u << 30, 0));
    void *of_node = kmalloc_nolock(SIZE, __GFP_ZERO, 0);
    CHECK(of_node && all_are(of_node, 0, SIZE));
    haybarn_set_reporter(count_report);
    errno = 77;
    kfree_nolock(&seconds);
    kmem_cache_free_nolock(cache, &seconds);
    kfree_nolock((char *)kmalloc(100000, GFP_KERNEL) + 8);
    CHECK(reports == 3 && errno == 77);
    haybarn_set_reporter(NULL);
    kfree_nolock(of_node);
    kfree_nolock(NULL);
    kfree_nolock(ZERO_SIZE_PTR);

    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 100}, {0, 100}}, off = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        void *mine[200];
        for (int at = 0; at < 200; at++) {
            mine[at] = at % 2 ? kmem_cache_alloc(cache, GFP_KERNEL) : kmalloc(SIZE, GFP_KERNEL);
            CHECK(mine[at]);
            fill(mine[at], at);
        }
        for (int at = 0; at < 200; at++) {
            CHECK(all_are(mine[at], at, SIZE));
            kfree(mine[at]);
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (!is_over(now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9, seconds));
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    for (int at = 0; at < KEPT; at++)
        kfree(kept[at]);
    CHECK(interruptions > 100 && taken > 0);
    CHECK(kmem_cache_destroy(cache) == 0);
    puts("nolock ok");
    return 0;
}
