/* Forks while threads make caches of a process that wants a report at exit: no child finds the report's list locked. */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 24, FORKS = 300 };

static volatile int stop;

static void *work(void *nothing)
{
    while (!stop)
        CHECK(!kmem_cache_create("base", 64, 0, 0, NULL) && errno == EEXIST);
    return nothing;
}

int main(void)
{
    pthread_t threads[THREADS];
    struct kmem_cache *base = kmem_cache_create("base", 64, 0, 0, NULL);
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, work, NULL) == 0);
    for (int round = 0; round < FORKS; round++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(60); /* a child that hangs ends */
            _exit(!kmem_cache_create("child", 64, 0, 0, NULL));
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    stop = 1;
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(kmem_cache_destroy(base) == 0);
    puts("forks reported ok");
    return 0;
}
