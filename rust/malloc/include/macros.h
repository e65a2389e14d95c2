
/* From here on what a generator cannot make of functions; written in include/macros.h. */

#if defined(__cplusplus)
#define HAYBARN_ASSERT(what, why) static_assert(what, why)
#else
#define HAYBARN_ASSERT(what, why) _Static_assert(what, why)
#endif
HAYBARN_ASSERT(sizeof(struct kmem_cache_opaque) == KMEM_CACHE_OPAQUE_SIZE, "kmem_cache_opaque has the library's size");
HAYBARN_ASSERT(__alignof__(struct kmem_cache_opaque) == KMEM_CACHE_OPAQUE_ALIGN, "and its alignment");
HAYBARN_ASSERT(sizeof(unsigned long) == sizeof(void *), "a grace period's number is an unsigned long");

/* What a request for 0 bytes gets: no memory, not NULL, and freeing it does nothing. */
#define ZERO_SIZE_PTR ((void *)16)
#define ZERO_OR_NULL_PTR(p) ((uintptr_t)(p) <= (uintptr_t)ZERO_SIZE_PTR)

/* Storage of a cache as the cache that kmem_cache_setup makes there: a constant where the storage's address is one. */
#define to_kmem_cache(storage) ((struct kmem_cache *)(0 ? (struct kmem_cache_opaque *)0 : (storage)))

/* kmem_cache_create(name, size, args, flags), where args is a struct kmem_cache_args * or NULL, and
 * kmem_cache_create(name, size, align, flags, ctor). kmem_cache_setup takes the same behind the cache. */
#if defined(__cplusplus)
static inline struct kmem_cache *kmem_cache_create(const char *name, unsigned int size,
                                                   const struct kmem_cache_args *args, slab_flags_t flags)
{
    return __kmem_cache_create_args(name, size, args, flags);
}
static inline struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
                                                   slab_flags_t flags, void (*ctor)(void *object))
{
    return __kmem_cache_create(name, size, align, flags, ctor);
}
static inline int kmem_cache_setup(struct kmem_cache *s, const char *name, unsigned int size,
                                   const struct kmem_cache_args *args, slab_flags_t flags)
{
    return __kmem_cache_setup_args(s, name, size, args, flags);
}
static inline int kmem_cache_setup(struct kmem_cache *s, const char *name, unsigned int size, unsigned int align,
                                   slab_flags_t flags, void (*ctor)(void *object))
{
    return __kmem_cache_setup(s, name, size, align, flags, ctor);
}
#else
#define HAYBARN_BY_ARGS(args, with, without) \
    _Generic((args), struct kmem_cache_args *: with, const struct kmem_cache_args *: with, void *: with, default: without)
#define kmem_cache_create(name, size, args, ...) \
    HAYBARN_BY_ARGS(args, __kmem_cache_create_args, __kmem_cache_create)(name, size, args, __VA_ARGS__)
#define kmem_cache_setup(s, name, size, args, ...) \
    HAYBARN_BY_ARGS(args, __kmem_cache_setup_args, __kmem_cache_setup)(s, name, size, args, __VA_ARGS__)
#endif

/* A cache of struct `tag`, under its name. */
#define KMEM_CACHE(tag, flags) \
    __kmem_cache_create(#tag, sizeof(struct tag), __alignof__(struct tag), (flags), NULL)

/* The same, where one member may be copied to and from users. */
#define KMEM_CACHE_USERCOPY(tag, flags, member) \
    kmem_cache_create_usercopy(#tag, sizeof(struct tag), __alignof__(struct tag), (flags), offsetof(struct tag, member), \
                               sizeof(((struct tag *)0)->member), NULL)

/* The same in storage: 0, or the error as a negative number. */
#define KMEM_CACHE_SETUP(s, tag, flags) \
    __kmem_cache_setup((s), #tag, sizeof(struct tag), __alignof__(struct tag), (flags), NULL)
#define KMEM_CACHE_SETUP_USERCOPY(s, tag, flags, member) \
    kmem_cache_setup_usercopy((s), #tag, sizeof(struct tag), __alignof__(struct tag), (flags), \
                              offsetof(struct tag, member), sizeof(((struct tag *)0)->member), NULL)

/* Memory for one object or many, as a pointer to its type; the flags may be left out. */
#define HAYBARN_GFP(...) (0 + __VA_ARGS__ + 0)
#define kmalloc_obj(of, ...) ((__typeof__(of) *)kmalloc(sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kzalloc_obj(of, ...) ((__typeof__(of) *)kzalloc(sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kmalloc_objs(of, count, ...) ((__typeof__(of) *)kmalloc_array((count), sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kzalloc_objs(of, count, ...) ((__typeof__(of) *)kcalloc((count), sizeof(of), HAYBARN_GFP(__VA_ARGS__)))

#define kvmalloc_obj(of, ...) ((__typeof__(of) *)kvmalloc(sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kvzalloc_obj(of, ...) ((__typeof__(of) *)kvzalloc(sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kvmalloc_objs(of, count, ...) ((__typeof__(of) *)kvmalloc_array((count), sizeof(of), HAYBARN_GFP(__VA_ARGS__)))
#define kvzalloc_objs(of, count, ...) ((__typeof__(of) *)kvcalloc((count), sizeof(of), HAYBARN_GFP(__VA_ARGS__)))

/* The same for a structure that ends with `count` elements of the array `member`. */
#define HAYBARN_FLEX(how, of, member, count, ...) \
    ((__typeof__(of) *)how(haybarn_flex_size(sizeof(of), sizeof(((__typeof__(of) *)0)->member[0]), (count)), \
                           HAYBARN_GFP(__VA_ARGS__)))
#define kmalloc_flex(of, member, count, ...) HAYBARN_FLEX(kmalloc, of, member, count, __VA_ARGS__)
#define kzalloc_flex(of, member, count, ...) HAYBARN_FLEX(kzalloc, of, member, count, __VA_ARGS__)
#define kvmalloc_flex(of, member, count, ...) HAYBARN_FLEX(kvmalloc, of, member, count, __VA_ARGS__)
#define kvzalloc_flex(of, member, count, ...) HAYBARN_FLEX(kvzalloc, of, member, count, __VA_ARGS__)

/* Bytes of such a structure; more than there can be where that is no number. */
static inline size_t haybarn_flex_size(size_t base, size_t element, size_t count)
{
    size_t bytes;
    if (__builtin_mul_overflow(element, count, &bytes) || __builtin_add_overflow(bytes, base, &bytes))
        return SIZE_MAX;
    return bytes;
}

/* Nobody tracks callers by now. */
#define kmalloc_track_caller(size, flags) kmalloc((size), (flags))
#define kmalloc_node_track_caller(size, flags, node) kmalloc_node((size), (flags), (node))
#define kmem_buckets_alloc_track_caller(buckets, size, flags) kmem_buckets_alloc((buckets), (size), (flags))

/* Frees after a grace period, of any pointer. `member` is the structure's rcu_head, as in Linux; it is not needed. */
#define kfree_rcu(pointer, member) ((void)sizeof((pointer)->member), kvfree_rcu_mightsleep(pointer))
#define kvfree_rcu(pointer, member) kfree_rcu(pointer, member)
#define kfree_rcu_mightsleep(pointer) kvfree_rcu_mightsleep(pointer)

/* Publishes a pointer after all that was written before; reads one, and what it leads to, in a read section; looks at one. */
#define rcu_assign_pointer(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define rcu_dereference(place) __atomic_load_n(&(place), __ATOMIC_CONSUME)
#define rcu_access_pointer(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
