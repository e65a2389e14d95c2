/* The library in a program that loads it: used by threads, through forks, let go of by dlclose, and at the end of the process while threads
 * are still inside. Arguments: the library, and what to do. */
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTIONS(X) \
    X(__kmem_cache_create) X(kmem_cache_destroy) X(kmem_cache_alloc) X(kmem_cache_free) X(kmem_cache_free_rcu) X(kmalloc) X(kfree) \
    X(kvfree_rcu_mightsleep) X(rcu_read_lock) X(rcu_read_unlock) X(rcu_barrier) X(call_rcu)
#define POINTER(name) static __typeof__(name) *do_##name;
FUNCTIONS(POINTER)

/* check.h's: nothing here is linked with the library. */
const char *haybarn_error(void)
{
    return dlerror();
}

static const char *path;
static struct kmem_cache *cache;
static volatile int stop;
static int called;

static void *load(void)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
#define FIND(name) CHECK((do_##name = (__typeof__(name) *)dlsym(library, #name)));
    FUNCTIONS(FIND)
    return library;
}

static void count_call(struct rcu_head *head)
{
    (void)head;
    __atomic_add_fetch(&called, 1, __ATOMIC_RELAXED);
}

static void *work(void *rounds)
{
    for (long round = 0; rounds ? round < (long)rounds : !stop; round++) {
        void *one = do_kmem_cache_alloc(cache, GFP_KERNEL), *two = do_kmalloc(round % 5000, GFP_KERNEL);
        CHECK(one && two);
        memset(one, 0x55, 192);
        do_rcu_read_lock();
        do_rcu_read_unlock();
        if (round % 16)
            do_kmem_cache_free(cache, one);
        else
            CHECK(do_kmem_cache_free_rcu(cache, one) == 0);
        do_kfree(two);
    }
    return NULL;
}

static void start(pthread_t *threads, int count, long rounds)
{
    for (int n = 0; n < count; n++)
        CHECK(pthread_create(&threads[n], NULL, work, (void *)rounds) == 0);
}

static void join(pthread_t *threads, int count)
{
    for (int n = 0; n < count; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
}

/* Threads, callbacks, a barrier: the library's own thread is there afterwards. */
static void use(void)
{
    static struct rcu_head head;
    pthread_t threads[3];
    start(threads, 3, 20000);
    CHECK(do_call_rcu(&head, count_call) == 0);
    join(threads, 3);
    CHECK(do_rcu_barrier() == 0 && called > 0);
}

static void has_ended(pid_t pid)
{
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fprintf(stderr, "a child ended with status %#x\n", status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Goes on without the library, busy, so that the kernel takes the CPU away now and then; a child ends as it should. */
static void goes_on(int rounds, unsigned int pause)
{
    for (int n = 0; n < rounds; n++) {
        for (volatile int at = 0; at < 1000000; at++)
            ;
        usleep(pause);
    }
    pid_t pid = fork();
    if (pid == 0)
        exit(0);
    has_ended(pid);
}

/* A child that uses the library and leaves by the door that is named. */
static void fork_and_use(int by_exit)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        called = 0;
        use();
        if (by_exit)
            exit(0);
        _exit(0);
    }
    has_ended(pid);
}

static void forks(void)
{
    /* Before the first use, and with threads inside. */
    fork_and_use(1);
    use();
    pthread_t threads[2];
    start(threads, 2, 0);
    for (int round = 0; round < 6; round++)
        fork_and_use(round % 2);
    stop = 1;
    join(threads, 2);
}

/* The process ends while threads are inside. */
static void ends(void)
{
    for (int round = 0; round < 10; round++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            pthread_t threads[3];
            start(threads, 3, 0);
            usleep(1000 * (round + 1));
            exit(0);
        }
        has_ended(pid);
    }
}

static void *wait_and_see(void *nothing)
{
    /* Its thread-locals of the library end after the library was let go of. */
    while (!stop)
        usleep(1000);
    return nothing;
}

static void *use_once(void *nothing)
{
    do_kfree(do_kmalloc(100, GFP_KERNEL));
    do_rcu_read_lock();
    do_rcu_read_unlock();
    return wait_and_see(nothing);
}

/* Let go of: threads that have used it, its own thread, its handlers of fork and exit live on. */
static void closes(void *library)
{
    pthread_t late[3];
    for (int n = 0; n < 3; n++)
        CHECK(pthread_create(&late[n], NULL, use_once, NULL) == 0);
    use();
    struct kmem_cache *before = cache;
    void *object = do_kmem_cache_alloc(cache, GFP_KERNEL);
    memset(object, 0x66, 192);
    CHECK(do_kvfree_rcu_mightsleep(do_kmalloc(64, GFP_KERNEL)) == 0);
    CHECK(dlclose(library) == 0);
    /* Longer than the library's thread sleeps between two looks. */
    goes_on(300, 10000);
    stop = 1;
    join(late, 3);
    /* Loaded again it is the one that it was: what it gave out is there. */
    load();
    CHECK(all_are(object, 0x66, 192) && cache == before);
    do_kmem_cache_free(cache, object);
    stop = 0;
    use();
    CHECK(do_rcu_barrier() == 0 && do_kmem_cache_destroy(cache) == 0);
}

/* Let go of by a thread that has done nothing but hits, on which nothing else keeps the library: the kernel still knows the descriptor of the
 * last sequence, and reads it when it next takes the CPU away. */
static void closes_after_hits(void *library)
{
    for (int n = 0; n < 100; n++)
        do_kfree(do_kmalloc(100, GFP_KERNEL));
    CHECK(dlclose(library) == 0);
    goes_on(100, 100);
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    path = arguments[1];
    alarm(120); /* what hangs ends */
    void *library = load();
    if (strcmp(arguments[2], "hits") == 0) {
        closes_after_hits(library);
        puts("loaded ok");
        return 0;
    }
    cache = do___kmem_cache_create("loaded", 192, 0, SLAB_NO_MERGE, NULL);
    CHECK(cache);
    if (strcmp(arguments[2], "forks") == 0)
        forks();
    else if (strcmp(arguments[2], "ends") == 0)
        ends();
    else
        closes(library);
    puts("loaded ok");
    return 0;
}
