/* A program that forgets some of what it took, and has a child that does too. With an argument: the first cache cannot be made. */
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static struct kmem_cache_opaque storage;

int main(int count, char **arguments)
{
    struct kmem_cache *left = kmem_cache_create("left", 64, 0, SLAB_NO_MERGE, NULL);
    if (count > 1) {
        CHECK(!left && errno == EINVAL && strstr(haybarn_error(), arguments[1]));
        return 0;
    }
    struct kmem_cache *empty = kmem_cache_create("empty", 64, 0, SLAB_NO_MERGE, NULL);
    struct kmem_cache *untraced = kmem_cache_create("untraced", 64, 0, SLAB_NOLEAKTRACE, NULL);
    CHECK(left && empty && untraced && kmem_cache_setup(to_kmem_cache(&storage), "fixed", 4000, NULL, SLAB_NO_MERGE) == 0);
    CHECK(kmem_cache_alloc(left, GFP_KERNEL) && kmem_cache_alloc(left, GFP_KERNEL));
    CHECK(kmem_cache_alloc(untraced, GFP_KERNEL) && kmem_cache_alloc(to_kmem_cache(&storage), GFP_KERNEL));
    kmem_cache_free(empty, kmem_cache_alloc(empty, GFP_KERNEL));
    CHECK(kmalloc(5000, GFP_KERNEL) && kmalloc(50000, GFP_KERNEL));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(kmem_cache_alloc(empty, GFP_KERNEL));
        return 0;
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    return 0;
}
