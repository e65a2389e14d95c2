/* A fork while threads allocate: the child has everything as it was and goes on alone. */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct kmem_cache *cache;
static struct kmem_cache_opaque storage;
static volatile int stop;

static void *work(void *nothing)
{
    while (!stop) {
        void *one = kmem_cache_alloc(cache, GFP_KERNEL), *two = kmalloc(300, GFP_KERNEL);
        CHECK(one && two && kvfree_rcu_mightsleep(one) == 0);
        struct kmem_cache *own = kmem_cache_create("thread", 64, 0, 0, NULL);
        CHECK(own || errno == EEXIST);
        CHECK(kmem_cache_destroy(own) == 0);
        kfree(two);
    }
    return nothing;
}

static int child(void *before)
{
    CHECK(all_are(before, 0x77, 256));
    kmem_cache_free(cache, before);
    for (int at = 0; at < 2000; at++) {
        void *object = kmem_cache_alloc(cache, GFP_KERNEL);
        CHECK(object);
        kmem_cache_free(cache, object);
    }
    CHECK(kmem_cache_setup(to_kmem_cache(&storage), "child", 64, 0, 0, NULL) == 0);
    CHECK(kmem_cache_destroy(to_kmem_cache(&storage)) == 0);
    CHECK(synchronize_rcu() == 0);
    return 0;
}

int main(void)
{
    pthread_t threads[3];
    cache = kmem_cache_create("forks", 256, 0, SLAB_NO_MERGE, NULL);
    for (int n = 0; n < 3; n++)
        CHECK(pthread_create(&threads[n], NULL, work, NULL) == 0);
    for (int round = 0; round < 20; round++) {
        void *before = kmem_cache_alloc(cache, GFP_KERNEL);
        memset(before, 0x77, 256);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(60); /* a child that hangs ends */
            _exit(child(before));
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        kmem_cache_free(cache, before);
    }
    stop = 1;
    for (int n = 0; n < 3; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(kmem_cache_destroy(cache) == 0);
    puts("forks ok");
    return 0;
}
