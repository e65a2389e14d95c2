"""Finds what was forgotten: which objects keep a cache, who allocated them, and what a process would leave behind."""

import gc

import haybarn
from haybarn import CacheBusyError, KmemCache

sessions = KmemCache("sessions", 256, track=True)
replies = KmemCache("replies", 256)  # shares the slabs of sessions, and does not track


def log_in(user: int, kept: list[object]) -> None:
    """Forgets every hundredth session, in a list that nobody empties."""
    session = sessions.alloc(zero=True)
    memoryview(session)[:4] = user.to_bytes(4, "little")
    if user % 100 == 0:
        kept.append(session)


forgotten: list[object] = []
for user in range(500):
    log_in(user, forgotten)
answer = replies.alloc()

# Destroying refuses, names the objects and the lines that allocated them, and changes nothing.
try:
    sessions.destroy()
except CacheBusyError as error:
    lines = {(site or "?").rsplit("/", 1)[-1] for site in error.sites}
    print(f"{error.live} sessions are live, allocated at {', '.join(lines)}")
    print("the first:", hex(error.objects[0][0]), "index", error.objects[0][1])

# Of caches in use, at any time. What no tracked name knows as its own is the other one's.
for leak in haybarn.leaks():
    whose = [one["cache"] for one in leak["objects"]]
    print(leak["cache"], leak["aliases"], leak["names"], f"{whose.count('replies')} of them a reply")

forgotten.clear()
answer.free()
gc.collect()
sessions.destroy()
replies.destroy()
print("left:", haybarn.leaks(), "(HAYBARN_LEAKS=1 prints the same list when a process ends)")
