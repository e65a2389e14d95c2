/* What a handler of a fork that runs while the library's locks are held may do: what would wait for its own thread fails with a
   reason, and memory is taken and freed as ever. */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static int prepared;
static struct kmem_cache *cache;
static struct kmem_cache_opaque storage;

static void prepare(void)
{
    prepared++;
    void *object = kmem_cache_alloc(cache, GFP_KERNEL), *used = kmalloc(100, GFP_KERNEL);
    CHECK(object && used);
    kmem_cache_free(cache, object);
    kfree(used);
    CHECK(!kmalloc(777, GFP_KERNEL) && strstr(haybarn_error(), "size class") && strstr(haybarn_error(), "of a fork"));
    CHECK(kmem_cache_setup(to_kmem_cache(&storage), "late", 64, 0, 0, NULL) == -EOPNOTSUPP);
}

int main(void)
{
    /* Before the library's own, so that it runs when that has the locks. */
    CHECK(pthread_atfork(prepare, NULL, NULL) == 0);
    cache = kmem_cache_create("handled", 64, 0, SLAB_NO_MERGE, NULL);
    kfree(kmalloc(100, GFP_KERNEL));
    alarm(60);
    pid_t pid = fork();
    CHECK(pid >= 0);
    void *first = kmalloc(777, GFP_KERNEL);
    CHECK(prepared == 1 && first);
    kfree(first);
    CHECK(kmem_cache_setup(to_kmem_cache(&storage), "late", 64, 0, 0, NULL) == 0);
    CHECK(kmem_cache_destroy(to_kmem_cache(&storage)) == 0);
    CHECK(kmem_cache_destroy(cache) == 0);
    if (pid == 0)
        _exit(0);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    puts("handlers ok");
    return 0;
}
