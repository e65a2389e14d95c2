"""Watches caches by their attributes: what a burst leaves behind, what a shrink gives back, who shares whose slabs."""

from haybarn import KmemCache, SysfsError, sysfs


def show(name: str) -> None:
    """Slabs and objects of a cache, as a person would read them in /sys/kernel/slab."""
    slabs, used, total = (sysfs.read(f"/{name}/{what}").split()[0] for what in ("slabs", "objects", "total_objects"))
    print(f"{name}: {used} of {total} objects in {slabs} slabs are in use or in sheaves")


sessions = KmemCache("sessions", 1000, min_order=3)
requests = KmemCache("requests", 200)
replies = KmemCache("replies", 196)

# A burst, while a monitor keeps an attribute open.
with sysfs.open("/sessions/objects") as objects:
    burst = sessions.alloc_bulk(1000)
    peak = objects.value()["total"]
    sessions.free_bulk(burst)
print(f"sessions: {peak} objects at the peak")
show("sessions")

# Fewer wholly free slabs are kept from now on; the shrink gives back what is there.
sysfs.write("/sessions/min_partial", "0")
sysfs.write("/sessions/shrink", "1")
show("sessions")

# Requests and replies are of nearly one size: they share slabs.
print("replies has the slabs of", sysfs.readlink("/replies/primary").removeprefix("../"))
print("sizes:", *(sysfs.read(f"/{name}/object_size").strip() for name in sysfs.listdir("/")))

# Everything as numbers: which CPUs took slabs?
taken = sysfs.as_dict("/sessions")["alloc_slab"]
add_up = sum(taken["cpus"].values()) == taken["total"]
print(f"sessions: {taken['total']} slabs taken, the CPUs' shares add up: {add_up}")

try:
    sysfs.write("/sessions/order", "5")
except SysfsError as error:
    print(f"errno {error.errno}: {error}")
