// The header in C++: overloads in place of _Generic, and the macros.
#include "check.h"
#include <initializer_list>

struct point {
    double x, y;
    struct rcu_head rcu;
};

static int made;
static kmem_cache_opaque storage;

static void make(void *) { made++; }

int main()
{
    static_assert(alignof(kmem_cache_opaque) == KMEM_CACHE_OPAQUE_ALIGN, "the storage's alignment");
    kmem_cache *points = KMEM_CACHE(point, SLAB_HWCACHE_ALIGN);
    kmem_cache *older = kmem_cache_create("older", 100, 8, 0, make);
    kmem_cache_args args = {};
    args.align = 32;
    kmem_cache *newer = kmem_cache_create("newer", 100, &args, 0);
    kmem_cache *none = kmem_cache_create("none", 100, nullptr, 0);
    CHECK(points && older && newer && none);
    point *p = static_cast<point *>(kmem_cache_zalloc(points, GFP_KERNEL));
    CHECK(p && p->x == 0);
    point *shared = nullptr;
    rcu_assign_pointer(shared, p);
    rcu_read_lock();
    CHECK(rcu_dereference(shared) == p);
    rcu_read_unlock();
    CHECK(kfree_rcu(p, rcu) == 0);
    void *object = kmem_cache_alloc(older, GFP_KERNEL);
    CHECK(object && made > 0);
    kmem_cache_free(older, object);
    point *q = kzalloc_obj(point);
    CHECK(q);
    kfree(q);
    CHECK(rcu_barrier() == 0);
    kmem_cache *fixed = to_kmem_cache(&storage);
    CHECK(kmem_cache_setup(fixed, "fixed", 100, 8, 0, make) == 0);
    CHECK(kmem_cache_setup(fixed, "fixed", 100, &args, 0) == -EALREADY && kmem_cache_destroy(fixed) == 0);
    CHECK(KMEM_CACHE_SETUP(fixed, point, 0) == -EEXIST && kmem_cache_is_free(fixed));
    for (kmem_cache *cache : {points, older, newer, none})
        CHECK(kmem_cache_destroy(cache) == 0);
    puts("plus ok");
}
