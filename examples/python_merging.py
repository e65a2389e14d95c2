"""Two kinds of records of one size: their slabs are shared, their counts are their own."""

from haybarn import CacheBusyError, KmemCache, SlabFlags


def show(cache: KmemCache) -> None:
    """What belongs to the name, and what to the slabs."""
    stats = cache.stats()
    own = f"{stats['allocated']:4} allocated, {stats['freed']:4} freed, {stats['objects']:4} live"
    slabs = f"slabs of {stats['primary']}: {stats['slabs']} with {stats['total_objects']} objects"
    print(f"{cache.name:9} {own}; {slabs}")


requests = KmemCache("requests", 196)
replies = KmemCache("replies", 200)  # the same number of words
secrets = KmemCache("secrets", 200, flags=SlabFlags.NO_MERGE)  # must not lie beside anybody's
print(f"replies share with {replies.primary}, secrets with {secrets.aliases or 'nobody'}")

pending = requests.alloc_bulk(300)
answers = replies.alloc_bulk(100)
keys = secrets.alloc_bulk(10)
for cache in (requests, replies, secrets):
    show(cache)

# What one frees the other gets, without new slabs.
requests.free_bulk(pending)
answers += replies.alloc_bulk(200)
show(replies)

# Names end when they like. The slabs stay for those who are left.
try:
    replies.destroy()
except CacheBusyError as busy:
    print(f"refused: {busy}")
requests.destroy()
print(f"without requests the slabs are those of {replies.primary}")

replies.free_bulk(answers)
replies.destroy()
secrets.free_bulk(keys)
secrets.destroy()
