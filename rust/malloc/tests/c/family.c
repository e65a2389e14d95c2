/* The kmalloc family. */
#include "check.h"

static void sizes(void)
{
    static const size_t asked[] = {1, 8, 9, 96, 97, 192, 193, 8192, 8193, 100000, KMALLOC_MAX_SIZE};
    for (size_t at = 0; at < sizeof asked / sizeof *asked; at++) {
        size_t room = kmalloc_size_roundup(asked[at]);
        char *memory = (char *)kmalloc(asked[at], GFP_KERNEL);
        CHECK(memory && room >= asked[at] && ksize(memory) == room);
        CHECK((uintptr_t)memory % (room & -room) == 0);
        memset(memory, 0xa5, room);
        kfree(memory);
        memory = (char *)kzalloc(asked[at], GFP_ATOMIC);
        CHECK(memory && all_are(memory, 0, asked[at]));
        kfree_sensitive(memory);
    }
    CHECK(kmalloc(0, GFP_KERNEL) == ZERO_SIZE_PTR && ZERO_OR_NULL_PTR(ZERO_SIZE_PTR) && ksize(ZERO_SIZE_PTR) == 0);
    kfree(ZERO_SIZE_PTR);
    kfree(NULL);
    CHECK(ksize(NULL) == 0);
    errno = 0;
    CHECK(!kmalloc(KMALLOC_MAX_SIZE + 1, GFP_KERNEL) && errno == ENOMEM);
}

static void arrays_and_nodes(void)
{
    int *numbers = (int *)kcalloc(100, sizeof(int), GFP_KERNEL);
    CHECK(numbers && all_are(numbers, 0, 400));
    numbers[99] = 7;
    numbers = (int *)krealloc_array(numbers, 1000, sizeof(int), GFP_KERNEL);
    CHECK(numbers && numbers[99] == 7);
    kfree(numbers);
    errno = 0;
    CHECK(!kmalloc_array((size_t)1 << 40, (size_t)1 << 40, GFP_KERNEL) && errno == ENOMEM);
    void *here = kmalloc_node(64, GFP_KERNEL, 0);
    void *anywhere = kzalloc_node(64, __GFP_THISNODE, NUMA_NO_NODE);
    CHECK(here && anywhere && all_are(anywhere, 0, 64));
    errno = 0;
    CHECK(!kmalloc_node(64, GFP_KERNEL, 4000) && errno == EINVAL && strstr(haybarn_error(), "node = 4000"));
    CHECK(!kmalloc_node(64, GFP_KERNEL, -2) && errno == EINVAL);
    errno = 0;
    CHECK(!kmalloc(64, 1u << 20) && errno == EINVAL);
    void *both[] = {here, NULL, anywhere, ZERO_SIZE_PTR, kmalloc(50000, GFP_KERNEL)};
    kfree_bulk(5, both);
}

static void other_sizes(void)
{
    char *memory = (char *)krealloc(NULL, 10, GFP_KERNEL);
    CHECK(memory);
    strcpy(memory, "hello");
    CHECK(krealloc(memory, 16, GFP_KERNEL) == memory);
    char *larger = (char *)krealloc(memory, 5000, GFP_KERNEL | __GFP_ZERO);
    CHECK(larger && larger != memory && !strcmp(larger, "hello"));
    errno = 0;
    CHECK(!krealloc(larger, KMALLOC_MAX_SIZE + 1, GFP_KERNEL) && errno == ENOMEM && !strcmp(larger, "hello"));
    size_t huge = (size_t)KMALLOC_MAX_SIZE + 12345;
    char *grown = (char *)kvrealloc(larger, huge, GFP_KERNEL);
    CHECK(grown && !strcmp(grown, "hello") && ksize(grown) >= huge);
    grown[huge - 1] = 1;
    CHECK(krealloc(grown, 0, GFP_KERNEL) == ZERO_SIZE_PTR);
    void *pages = kvzalloc(huge, GFP_KERNEL);
    CHECK(pages && all_are(pages, 0, huge));
    kvfree_sensitive(pages, huge);
    void *some = kvmalloc_array(3, 1000, GFP_KERNEL);
    CHECK(some && ksize(some) == 4096);
    kvfree(some);
}

static void copies(void)
{
    char *copy = kstrdup("a text", GFP_KERNEL);
    CHECK(copy && !strcmp(copy, "a text"));
    kfree(copy);
    copy = kstrndup("a text", 3, GFP_KERNEL);
    CHECK(copy && !strcmp(copy, "a t"));
    kfree(copy);
    copy = kmemdup_nul("abcdef", 2, GFP_KERNEL);
    CHECK(copy && !strcmp(copy, "ab"));
    kfree(copy);
    copy = (char *)kmemdup("1234", 4, GFP_KERNEL);
    CHECK(copy && !memcmp(copy, "1234", 4));
    kvfree(copy);
    CHECK(!kstrdup(NULL, GFP_KERNEL) && !kmemdup(NULL, 3, GFP_KERNEL));
    CHECK(kmemdup("", 0, GFP_KERNEL) == ZERO_SIZE_PTR);
}

struct pair {
    long a, b;
};

struct tail {
    long length;
    int rest[];
};

static void typed(void)
{
    struct pair *one = kzalloc_obj(struct pair), *many = kmalloc_objs(*many, 10, GFP_KERNEL);
    CHECK(one && !one->a && many && ksize(many) >= 10 * sizeof *many);
    kfree(one);
    kfree(many);
    struct tail *tail = kzalloc_flex(*tail, rest, 100);
    CHECK(tail && kmalloc_size_roundup(sizeof *tail + 400) == ksize(tail) && all_are(tail, 0, sizeof *tail + 400));
    kfree(tail);
    CHECK(!kmalloc_flex(*tail, rest, SIZE_MAX / 2, GFP_ATOMIC) && !kvmalloc_flex(struct tail, rest, SIZE_MAX));
    struct pair *page = kvzalloc_objs(struct pair, 1000);
    CHECK(page && all_are(page, 0, 16000));
    kvfree(page);
}

static void buckets(void)
{
    struct kmem_buckets *set = kmem_buckets_create("private", 0, 0, 0, NULL);
    CHECK(set);
    void *mine = kmem_buckets_alloc(set, 100, GFP_KERNEL), *large = kmem_buckets_valloc(set, 5 << 20, GFP_KERNEL);
    CHECK(mine && ksize(mine) == 128 && large);
    CHECK(kmem_buckets_destroy(set) == -EBUSY);
    kfree(mine);
    kvfree(large);
    CHECK(kmem_buckets_destroy(set) == 0);
    CHECK(!kmem_buckets_create("x", SLAB_PANIC, 0, 0, NULL) && errno == EINVAL);
}

/* What is not the library's is reported, and nothing happens. */
static void foreign(void)
{
    char *alien = (char *)malloc(100), stack[64];
    void *mine = kmalloc(100, GFP_KERNEL);
    CHECK(alien && mine);
    haybarn_set_reporter(count_report);
    errno = 0;
    kfree(alien);
    CHECK(reports == 1 && errno == EFAULT && strstr(last_report, "no object at 0x"));
    kfree(stack);
    kvfree(alien);
    kfree_sensitive(alien);
    CHECK(reports == 4);
    errno = 0;
    CHECK(ksize(alien) == 0 && errno == EFAULT && reports == 4);
    CHECK(!krealloc(alien, 200, GFP_KERNEL) && errno == EFAULT);
    CHECK(kvfree_rcu_mightsleep(alien) == -EFAULT);
    void *mixed[] = {mine, alien};
    kfree_bulk(2, mixed);
    CHECK(reports == 5 && ksize(mine) == 128);
    void *large = kmalloc(100000, GFP_KERNEL);
    kfree((char *)large + 8);
    CHECK(reports == 6 && ksize(large) == 131072);
    haybarn_set_reporter(NULL);
    kfree(alien); /* to stderr, where the test looks for it */
    kfree(mine);
    kfree(large);
    free(alien);
}

int main(void)
{
    sizes();
    arrays_and_nodes();
    other_sizes();
    copies();
    typed();
    buckets();
    foreign();
    puts("family ok");
    return 0;
}
