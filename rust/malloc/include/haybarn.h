/* haybarn: Linux's slab allocator with sheaves, as a library. Documentation: docs/c.md.
 *
 * Names, arguments and results are those of linux/slab.h. A call that fails returns NULL with errno set, or the error as a
 * negative number; haybarn_error() has a text that says what was wrong and what would have been legal. Every function may be
 * called by every thread, and none lets a panic or an exception of the library pass. */

#ifndef HAYBARN_H
#define HAYBARN_H

/* Made by cbindgen of rust/malloc/src: change it there. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAYBARN_ALIGNED(n) __attribute__((aligned(n)))


// Any node: the CPU's, as a rule.
#define NUMA_NO_NODE -1

// The largest size class of kmalloc; what is larger gets whole pages.
#define KMALLOC_MAX_CACHE_SIZE 8192

// The most that kmalloc gives; kvmalloc gives more.
#define KMALLOC_MAX_SIZE 4194304

// Bytes of struct kmem_cache_opaque.
#define KMEM_CACHE_OPAQUE_SIZE 64

// Its alignment.
#define KMEM_CACHE_OPAQUE_ALIGN 64

// A set of size classes.
struct kmem_buckets;

// A cache: from kmem_cache_create, or what to_kmem_cache makes of a kmem_cache_opaque.
struct kmem_cache;

// A sheaf that is out: its holder's alone.
struct slab_sheaf;

// Options of a cache. All zeroes asks for nothing.
struct kmem_cache_args {
    // Alignment of objects in bytes: 0 for none, or a power of two up to 4096.
    unsigned int align;
    // The part of an object that may be copied to and from users: its first byte.
    unsigned int useroffset;
    // And its bytes; 0 for no part. It prevents merging.
    unsigned int usersize;
    // Offset of the free pointer in a free object; needs a constructor or SLAB_TYPESAFE_BY_RCU.
    unsigned int freeptr_offset;
    // Whether freeptr_offset counts.
    bool use_freeptr_offset;
    // Constructs an object, once, when its slab is made.
    void (*ctor)(void *object);
    // Least capacity of a sheaf in objects, up to 1020; 0 for Linux's formula alone. It prevents merging.
    unsigned int sheaf_capacity;
    // In place of ctor: one that may fail. Not 0: the allocation that needed the object fails, with this as errno (a negative
    // number counts as the positive one).
    int (*try_ctor)(void *object);
    // Destructs an object, once, when its slab's pages go. It must not allocate. Needs a constructor.
    void (*dtor)(void *object);
    // What has to stay as long as anybody looks at the cache: given to `release` when the cache was destroyed and its last
    // reader is gone. A kmem_cache_opaque that goes away (with a shared library, say) goes then.
    void *owner;
    // Called with `owner`, on any thread, once for each cache that was made with it. NULL: no owner.
    void (*release)(void *owner);
};

// How to make a cache: a combination of SLAB_ flags.
typedef unsigned int slab_flags_t;

// A cache's row of slabinfo.
struct slabinfo {
    // Objects handed out and not freed.
    unsigned long active_objs;
    // Objects in all slabs.
    unsigned long num_objs;
    // Slabs.
    unsigned long active_slabs;
    // Slabs.
    unsigned long num_slabs;
    // Objects of a slab.
    unsigned int objects_per_slab;
    // A slab has 1 << cache_order pages.
    unsigned int cache_order;
};

// How to allocate: GFP_KERNEL, or a combination of `__GFP_` flags. A bit that has no name here is refused (EINVAL).
typedef unsigned int gfp_t;

// Room for what call_rcu has to remember; it lies in the structure that is to be freed.
struct rcu_head {
    // The library's.
    void *words[2];
};

// Room for a cache whose address is known when the program is linked: define it `static` (all zeroes), set it up by
// kmem_cache_setup, use it through to_kmem_cache.
struct HAYBARN_ALIGNED(64) kmem_cache_opaque {
    // The library's.
    size_t words[8];
};

// Nothing special. No allocation waits for another thread, whatever its flags.
#define GFP_KERNEL 0

// Do not hand memory back to the system in order to get some.
#define GFP_NOWAIT 2

// The same as GFP_NOWAIT.
#define GFP_ATOMIC 2

// GFP_KERNEL, counted as with __GFP_ACCOUNT.
#define GFP_KERNEL_ACCOUNT 8

// The memory's bytes are zero. Refused by caches with a constructor.
#define __GFP_ZERO 1

// Memory of the node that is asked for (the CPU's, where none is), or none.
#define __GFP_THISNODE 4

// Count the object in its cache's attribute `accounted`.
#define __GFP_ACCOUNT 8

// Accepted, and without effect: nothing is printed where memory is out.
#define __GFP_NOWARN 16

// Align objects to cache lines; small ones to the largest fraction of a line that holds them.
#define SLAB_HWCACHE_ALIGN 1

// Keeps caches apart when merging, nothing else.
#define SLAB_CACHE_DMA 2

// Keeps caches apart when merging, nothing else.
#define SLAB_CACHE_DMA32 4

// Where the cache cannot be made the program ends, with the reason on stderr.
#define SLAB_PANIC 8

// Slabs are given back only after a grace period; the memory keeps its type until then.
#define SLAB_TYPESAFE_BY_RCU 16

// Accepted, and without effect.
#define SLAB_DEBUG_OBJECTS 32

// The cache has no sheaves and never merges.
#define SLAB_NOLEAKTRACE 64

// Caches merge only with others of this kind.
#define SLAB_RECLAIM_ACCOUNT 128

// Another name of SLAB_RECLAIM_ACCOUNT.
#define SLAB_TEMPORARY 128

// Debugging that a user switches on for all caches leaves this one alone.
#define SLAB_NO_USER_FLAGS 512

// Never share slabs with another cache.
#define SLAB_NO_MERGE 2048

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Text of the error that a call of this thread ended with last; empty where none has failed yet. Good until the thread's next
// failure. It says which argument of which cache was wrong, and what would have been legal.
const char *haybarn_error(void);

// Has reports go to `reporter` in place of stderr; null for stderr again. Reports are what functions without a result have to
// say: that a pointer is not the library's, say. It is called on the thread that made the mistake, and must return.
void haybarn_set_reporter(void (*reporter)(const char *text));

// kmem_cache_create with a struct of options; NULL for none. The name is copied. NULL: errno is EINVAL for an argument (the text
// of haybarn_error() names it and its legal range), EEXIST for a name that a living cache has, ENOMEM.
//
// # Safety
// `name` is null or a text, `args` null or such a struct.
struct kmem_cache *__kmem_cache_create_args(const char *name,
                                            unsigned int size,
                                            const struct kmem_cache_args *args,
                                            slab_flags_t flags);

// kmem_cache_create in its older form.
//
// # Safety
// As __kmem_cache_create_args; `ctor` is null or may be called with each object.
struct kmem_cache *__kmem_cache_create(const char *name,
                                       unsigned int size,
                                       unsigned int align,
                                       slab_flags_t flags,
                                       void (*ctor)(void *object));

// kmem_cache_create with a part of each object that may be copied to and from users.
//
// # Safety
// As __kmem_cache_create.
struct kmem_cache *kmem_cache_create_usercopy(const char *name,
                                              unsigned int size,
                                              unsigned int align,
                                              slab_flags_t flags,
                                              unsigned int useroffset,
                                              unsigned int usersize,
                                              void (*ctor)(void *object));

// Ends the cache: 0, and the pointer is nobody's any more. -EBUSY with objects that are not freed or prefilled sheaves that are
// out, if no other living name shares its slabs (as in Linux a name that shares just goes; SLAB_NO_MERGE shares with nobody), -EDEADLK in an RCU read section where frees wait for readers: the cache is usable as before then. NULL: 0.
//
// # Safety
// Nobody uses the cache during the call, nor after a 0.
int kmem_cache_destroy(struct kmem_cache *s);

// Gives the cache's free memory back. 0 if no slab is left, else 1.
//
// # Safety
// As kmem_cache_alloc.
int kmem_cache_shrink(struct kmem_cache *s);

// Bytes of an object, as they were asked for; 0 for what is no cache.
//
// # Safety
// As kmem_cache_alloc.
unsigned int kmem_cache_size(struct kmem_cache *s);

// Fills in a cache's row of slabinfo; exact while nobody uses the cache. 0, or -EINVAL.
//
// # Safety
// As kmem_cache_alloc; `row` is null or has room.
int get_slabinfo(struct kmem_cache *s, struct slabinfo *row);

// kmem_cache_setup with a struct of options; NULL for none. 0, and the cache of this storage may be used. -EALREADY while a
// cache is there, -EBUSY after its end while its attributes are still being read; otherwise as kmem_cache_create, negative. After
// any of them the storage is as it was: the setup may be tried again.
//
// Without args.release other caches may share its slabs; with it, it shares another's.
//
// # Safety
// `s` is to_kmem_cache of storage that was zero before the first setup and that nobody else has written; it stays until
// kmem_cache_destroy, and until kmem_cache_is_free. The others as for kmem_cache_create.
int __kmem_cache_setup_args(struct kmem_cache *s,
                            const char *name,
                            unsigned int size,
                            const struct kmem_cache_args *args,
                            slab_flags_t flags);

// kmem_cache_setup in its older form.
//
// # Safety
// As __kmem_cache_setup_args; `ctor` is null or may be called with each object.
int __kmem_cache_setup(struct kmem_cache *s,
                       const char *name,
                       unsigned int size,
                       unsigned int align,
                       slab_flags_t flags,
                       void (*ctor)(void *object));

// kmem_cache_setup with a part of each object that may be copied to and from users.
//
// # Safety
// As __kmem_cache_setup.
int kmem_cache_setup_usercopy(struct kmem_cache *s,
                              const char *name,
                              unsigned int size,
                              unsigned int align,
                              slab_flags_t flags,
                              unsigned int useroffset,
                              unsigned int usersize,
                              void (*ctor)(void *object));

// Whether storage may be set up, or its memory go: it never was, or its cache's end has gone as far as its last reader.
//
// # Safety
// `s` is to_kmem_cache of such storage.
bool kmem_cache_is_free(struct kmem_cache *s);

// Takes an object of the cache: its object size in bytes, at its alignment, with what its last user left in it unless
// __GFP_ZERO. NULL: errno is ENOMEM, or what the constructor returned. Never waits for another thread.
//
// # Safety
// `s` is a cache that lives during the call; memory that kmem_cache_setup has not set up is none.
void *kmem_cache_alloc(struct kmem_cache *s, gfp_t flags);

// kmem_cache_alloc with __GFP_ZERO.
//
// # Safety
// As kmem_cache_alloc.
void *kmem_cache_zalloc(struct kmem_cache *s, gfp_t flags);

// kmem_cache_alloc of a node's memory: of another's where that is out, unless __GFP_THISNODE. EINVAL for a node that is
// not there; NUMA_NO_NODE is any.
//
// # Safety
// As kmem_cache_alloc.
void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t flags, int node);

// Gives an object back. NULL: nothing happens. An address where no memory of the library is, as one of malloc or of another
// copy of the library, is reported (errno EFAULT), and nothing happens. Never waits for another thread.
//
// # Safety
// If the library's, `object` came from this cache and the caller gives up its only owner. `s` as for kmem_cache_alloc.
void kmem_cache_free(struct kmem_cache *s,
                     void *object);

// Looks whether an object of this cache starts at the address: 0, or -EFAULT, and haybarn_error() says whose it is. It takes a
// lock, and cannot see that the object was freed.
//
// # Safety
// As kmem_cache_alloc.
int kmem_cache_check(struct kmem_cache *s,
                     const void *object);

// Reports what lies at an address: which object of which cache, or how many bytes of whole pages. False for what is not the
// library's or no start of anything; errno is EFAULT then. It takes a lock.
bool kmem_dump_obj(const void *object);

// Counts an object that was allocated without __GFP_ACCOUNT in its cache's attribute `accounted`. False, with errno EFAULT, for
// what is no object of a cache.
//
// # Safety
// `object` is live memory of the library, or none of its at all.
bool kmem_cache_charge(void *object,
                       gfp_t flags);

// Takes `count` objects, all or none: `count`, or 0 with errno as kmem_cache_alloc sets it. After 0, what is in the array means
// nothing.
//
// # Safety
// As kmem_cache_alloc; `objects` has room for `count`.
int kmem_cache_alloc_bulk(struct kmem_cache *s,
                          gfp_t flags,
                          size_t count,
                          void **objects);

// Gives objects back, none of them NULL or there twice; `s` NULL: of any caches, as kfree. The array is used as scratch. If
// one of them is not the library's that is reported (errno EFAULT), and none is freed.
//
// # Safety
// As kmem_cache_free, for each.
void kmem_cache_free_bulk(struct kmem_cache *s,
                          size_t count,
                          void **objects);

// Gives memory of the kmalloc family and objects of any caches back, in any mixture; NULL and ZERO_SIZE_PTR may be among
// them. Otherwise as kmem_cache_free_bulk.
//
// # Safety
// As kfree, for each.
void kfree_bulk(size_t count,
                void **objects);

// Sets `count` objects aside: taking so many from the sheaf cannot fail. NULL: errno is ENOMEM, EINVAL for a count of 0, or what
// the constructor returned, and nothing is lost.
//
// # Safety
// As kmem_cache_alloc.
struct slab_sheaf *kmem_cache_prefill_sheaf(struct kmem_cache *s,
                                            gfp_t flags,
                                            unsigned int count);

// Takes an object of the sheaf: NULL only if none is left (errno ENODATA). Of the flags __GFP_ZERO and __GFP_ACCOUNT count.
//
// # Safety
// `sheaf` is one that is out, of this cache, and nobody else uses it meanwhile.
void *kmem_cache_alloc_from_sheaf(struct kmem_cache *s,
                                  gfp_t flags,
                                  struct slab_sheaf *sheaf);

// Sees to it that at least `count` objects are in the sheaf at `*sheaf`, which stays the same pointer. 0, or an error as
// kmem_cache_prefill_sheaf's, negative, with the sheaf as it was.
//
// # Safety
// As kmem_cache_alloc_from_sheaf; `sheaf` leads to it.
int kmem_cache_refill_sheaf(struct kmem_cache *s,
                            gfp_t flags,
                            struct slab_sheaf **sheaf,
                            unsigned int count);

// Returns the sheaf and what is left in it. NULL: nothing happens.
//
// # Safety
// As kmem_cache_alloc_from_sheaf; the sheaf is not used afterwards.
void kmem_cache_return_sheaf(struct kmem_cache *s, gfp_t flags, struct slab_sheaf *sheaf);

// Objects that are left in the sheaf; 0 for NULL.
//
// # Safety
// `sheaf` is null or as for kmem_cache_alloc_from_sheaf.
unsigned int kmem_cache_sheaf_size(const struct slab_sheaf *sheaf);

// Takes `size` bytes, from the smallest size class that holds them (8 bytes to 8 KiB, also 96 and 192), or whole pages; all of
// ksize() bytes may be used, and are aligned to the largest power of two that divides them. 0 bytes: ZERO_SIZE_PTR. NULL:
// errno is ENOMEM, also for more than KMALLOC_MAX_SIZE. Never waits for another thread, but for the first use of a class.
void *kmalloc(size_t size,
              gfp_t flags);

// kmalloc with __GFP_ZERO.
void *kzalloc(size_t size, gfp_t flags);

// kmalloc of a node's memory: see kmem_cache_alloc_node. Whole pages come from where the caller runs.
void *kmalloc_node(size_t size, gfp_t flags, int node);

// kmalloc_node with __GFP_ZERO.
void *kzalloc_node(size_t size, gfp_t flags, int node);

// kmalloc for an array. NULL, with errno ENOMEM, also where the product is no number.
void *kmalloc_array(size_t count, size_t size, gfp_t flags);

// kmalloc_array with __GFP_ZERO.
void *kcalloc(size_t count, size_t size, gfp_t flags);

// kmalloc_node for an array.
void *kmalloc_array_node(size_t count, size_t size, gfp_t flags, int node);

// kmalloc_array_node with __GFP_ZERO.
void *kcalloc_node(size_t count, size_t size, gfp_t flags, int node);

// As kmalloc; what is larger than KMALLOC_MAX_SIZE, or larger than a page and not to be had that way, gets pages of its own,
// aligned to 2 MiB.
void *kvmalloc(size_t size,
               gfp_t flags);

// kvmalloc with __GFP_ZERO.
void *kvzalloc(size_t size, gfp_t flags);

// kvmalloc of a node's memory: see kmalloc_node.
void *kvmalloc_node(size_t size, gfp_t flags, int node);

// kvmalloc_node with __GFP_ZERO.
void *kvzalloc_node(size_t size, gfp_t flags, int node);

// kvmalloc for an array: see kmalloc_array.
void *kvmalloc_array(size_t count, size_t size, gfp_t flags);

// kvmalloc_array with __GFP_ZERO.
void *kvcalloc(size_t count, size_t size, gfp_t flags);

// Gives memory of the kmalloc family or an object of any cache back. NULL and ZERO_SIZE_PTR: nothing happens. An address
// where no memory of the library is, as one of malloc or of another copy of the library, is reported (errno EFAULT), and
// nothing happens.
//
// # Safety
// If the library's, the memory is live and the caller gives up its only owner.
void kfree(const void *object);

// kfree for what kvmalloc gave; they are the same.
//
// # Safety
// As kfree.
void kvfree(const void *object);

// kfree after overwriting all ksize() bytes with zeroes.
//
// # Safety
// As kfree.
void kfree_sensitive(const void *object);

// kvfree after overwriting the first `len` bytes with zeroes.
//
// # Safety
// As kfree.
void kvfree_sensitive(const void *object, size_t len);

// Bytes that may be used there; of a cache's object its object size. 0 for NULL, ZERO_SIZE_PTR, and with errno EFAULT for what
// is not the library's.
//
// # Safety
// `object` is live memory of the library, or none of its at all.
size_t ksize(const void *object);

// Bytes that a request for `size` bytes really gets: the same that ksize() says afterwards. Above KMALLOC_MAX_SIZE `size` itself.
size_t kmalloc_size_roundup(size_t size);

// Makes memory `size` bytes large: where it is if so many fit there, else elsewhere with its contents, and the old is freed.
// NULL and ZERO_SIZE_PTR: as kmalloc. `size` 0: freed, and ZERO_SIZE_PTR comes back. NULL comes back with errno ENOMEM, or EFAULT for
// what is not the library's: the old is as it was. Bytes that are added are zero if every call since the first had __GFP_ZERO.
//
// # Safety
// As kfree, if other memory comes back.
void *krealloc(const void *object,
               size_t size,
               gfp_t flags);

// krealloc for an array: see kmalloc_array.
//
// # Safety
// As krealloc.
void *krealloc_array(void *object, size_t count, size_t size, gfp_t flags);

// krealloc for what kvmalloc gave, to any size that kvmalloc gives.
//
// # Safety
// As krealloc.
void *kvrealloc(const void *object, size_t size, gfp_t flags);

// kvrealloc for an array: see kmalloc_array.
//
// # Safety
// As krealloc.
void *kvrealloc_array(void *object, size_t count, size_t size, gfp_t flags);

// A copy of `len` bytes. NULL as kmalloc, and for NULL.
//
// # Safety
// `from` is null or leads to `len` bytes.
void *kmemdup(const void *from, size_t len, gfp_t flags);

// kmemdup for an array: see kmalloc_array.
//
// # Safety
// As kmemdup.
void *kmemdup_array(const void *from, size_t count, size_t size, gfp_t flags);

// kmemdup into memory of kvmalloc.
//
// # Safety
// As kmemdup.
void *kvmemdup(const void *from, size_t len, gfp_t flags);

// A copy of `len` bytes as a text: with a null behind them.
//
// # Safety
// As kmemdup.
char *kmemdup_nul(const char *from, size_t len, gfp_t flags);

// A copy of a text. NULL as kmalloc, and for NULL.
//
// # Safety
// `from` is null or a text.
char *kstrdup(const char *from, gfp_t flags);

// A copy of a text's first `most` bytes at most.
//
// # Safety
// `from` is null, a text, or at least `most` bytes.
char *kstrndup(const char *from, size_t most, gfp_t flags);

// Makes the caches `name`-8 to `name`-8k. Their whole objects may be copied to and from users, whatever part is given, and they
// are plain: flags other than 0 and a constructor are refused (EINVAL). NULL: errno as kmem_cache_create's.
//
// # Safety
// `name` is null or a text.
struct kmem_buckets *kmem_buckets_create(const char *name,
                                         slab_flags_t flags,
                                         unsigned int _useroffset,
                                         unsigned int _usersize,
                                         void (*ctor)(void *object));

// kmalloc from these classes; what is larger than KMALLOC_MAX_CACHE_SIZE gets whole pages, which are nobody's class. Freed by
// kfree as any.
//
// # Safety
// `b` is of kmem_buckets_create, and lives.
void *kmem_buckets_alloc(struct kmem_buckets *b,
                         size_t size,
                         gfp_t flags);

// kvmalloc from these classes.
//
// # Safety
// As kmem_buckets_alloc.
void *kmem_buckets_valloc(struct kmem_buckets *b, size_t size, gfp_t flags);

// Ends the caches of a set: 0, or -EBUSY with live objects and the set as it was. NULL: 0. Linux has no end for them.
//
// # Safety
// Nobody uses the set or frees an object of it during the call.
int kmem_buckets_destroy(struct kmem_buckets *b);

// Begins a read section; sections nest. Never waits; may be called from signal handlers.
void rcu_read_lock(void);

// Ends the section that the thread's last rcu_read_lock began.
//
// # Safety
// The calling thread is in a section, and uses nothing any more that it read in it.
void rcu_read_unlock(void);

// Whether the calling thread is in a read section.
bool rcu_read_lock_held(void);

// Waits until every read section that had begun has ended. 0, or -EDEADLK in a section of the calling thread.
int synchronize_rcu(void);

// Waits until all callbacks that were queued before have been run, and all that waits for readers in caches is free. 0, or
// -EDEADLK in a read section and in a callback.
int rcu_barrier(void);

// The same as rcu_barrier.
int kvfree_rcu_barrier(void);

// Waits until what this cache had waiting for readers is free. 0, or -EDEADLK in a read section.
//
// # Safety
// As kmem_cache_alloc.
int kvfree_rcu_barrier_on_cache(struct kmem_cache *s);

// The grace period that who unpublished something before this call has to see over before freeing it. Starts nothing.
unsigned long get_state_synchronize_rcu(void);

// get_state_synchronize_rcu, and begins the period.
unsigned long start_poll_synchronize_rcu(void);

// Whether that grace period is over. Never waits.
bool poll_state_synchronize_rcu(unsigned long state);

// Waits until that grace period is over; at once if it is. 0, -EDEADLK in a read section, -EINVAL for a number that is no state.
int cond_synchronize_rcu(unsigned long state);

// Runs `func(head)` after a grace period, on a thread of the library or in a barrier. It must return.
//
// # Safety
// `func` may be called with `head` then, whose memory nobody else changes until then.
int call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));

// kfree after a grace period: readers may look at the memory until then. NULL: nothing happens. It waits only where much waits
// already, at most 10 ms. 0, -EFAULT for what is not the library's, -EDEADLK without memory in a read section; the memory
// is the caller's then.
//
// # Safety
// As kfree; new readers cannot find the memory any more.
int kvfree_rcu_mightsleep(const void *object);

// kvfree_rcu_mightsleep for an object of this cache, which it need not look for.
//
// # Safety
// As kvfree_rcu_mightsleep and kmem_cache_free.
int kmem_cache_free_rcu(struct kmem_cache *s, void *object);

// kmem_cache_alloc for signal handlers, whatever they interrupt, and for any other context: no lock, no system call, no
// constructor. NULL: memory is out, or pages would have to come from the system; also for flags without a name, and where nothing is
// set up. Do not try again in the handler: nothing changes there.
//
// # Safety
// As kmem_cache_alloc, but NULL and storage that is not set up give NULL.
void *kmem_cache_alloc_nolock(struct kmem_cache *s,
                              gfp_t flags);

// kmem_cache_free for signal handlers and any other context. An address that is not the library's is reported; a reporter that
// a program has set must be fit for that. errno stays.
//
// # Safety
// As kmem_cache_free, but what is no cache is reported.
void kmem_cache_free_nolock(struct kmem_cache *s,
                            void *object);

// kmalloc for signal handlers and any other context: see kmem_cache_alloc_nolock. Up to KMALLOC_MAX_CACHE_SIZE, of a size class
// that has been used before: a program asks once outside for each size that its handlers will want.
void *kmalloc_nolock(size_t size,
                     gfp_t flags,
                     int node);

// kfree for signal handlers and any other context: see kmem_cache_free_nolock. Takes what any function of the family gave.
//
// # Safety
// As kfree.
void kfree_nolock(const void *object);

// What the attribute at a path like "/frame/order" holds: its text's length, as snprintf; -1 with errno ENOENT, EISDIR, ..
//
// # Safety
// `path` is null or a text; `buffer` has room for `room` bytes, and may be null if that is 0.
long haybarn_sysfs_read(const char *path,
                        char *buffer,
                        size_t room);

// Where a link (a cache's "primary") leads; otherwise as haybarn_sysfs_read.
//
// # Safety
// As haybarn_sysfs_read.
long haybarn_sysfs_readlink(const char *path, char *buffer, size_t room);

// The names in a folder, each on a line: of "/" the caches, oldest first; otherwise as haybarn_sysfs_read.
//
// # Safety
// As haybarn_sysfs_read.
long haybarn_sysfs_list(const char *path, char *buffer, size_t room);

// Writes to an attribute: 0, or -EACCES, -EINVAL, -ENOENT, ..
//
// # Safety
// `path` and `value` are null or texts.
int haybarn_sysfs_write(const char *path, const char *value);

// All caches in the form of /proc/slabinfo; otherwise as haybarn_sysfs_read.
//
// # Safety
// As haybarn_sysfs_read.
long haybarn_slabinfo(char *buffer, size_t room);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HAYBARN_H */


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
