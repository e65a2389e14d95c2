//! Which objects are live and where they were allocated: in errors, on demand, and at the interpreter's exit.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use haybarn::{Arena, Error, Leak, LiveObject, leaks_wanted, leaks_were_reported};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::cache::KmemCache;
use crate::cache_view::CacheView;
use crate::errors::{self, Named};
use crate::sites::{Site, Sites};
use crate::{kmalloc, registry};

/// Live objects that an error or a report names.
const SAMPLE: usize = 64;
/// Those that a message names.
const FEW: usize = 4;

/// The caches with live objects, or with prefilled sheaves out, oldest first: a list of dicts.
///
/// Caches that share their slabs are one entry: `cache` (the primary's name), `aliases` (the others'), `live`, `prefilled`, `names`
/// (live objects by name, as Python counts them), and `objects`: the first 64 live ones, dicts of `address`, `index` (in the slab),
/// `cache` (whose it is; None where several that do not track share the slabs) and `site` ("file:line" of the allocation
/// in a cache with track=True, and by kmalloc where HAYBARN_TRACK=1 was set at the import, else None). Caches with NOLEAKTRACE are left out.
///
/// Exact while no other thread uses the caches. Thread-safe. As the kernel's kmemleak and __kmem_cache_shutdown().
#[pyfunction]
pub(crate) fn leaks(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let (found, living) = look(py)?;
    let list = PyList::empty(py);
    for leak in &found {
        list.append(as_dict(py, leak, &of_leak(leak, &living))?)?;
    }
    Ok(list)
}

fn look(py: Python<'_>) -> PyResult<(Vec<Leak>, Vec<Bound<'_, KmemCache>>)> {
    let found = py.detach(|| Ok(Arena::global()?.leaks())).map_err(|error| errors::from_core(py, error))?;
    Ok((found, registry::living(py)?))
}

/// Python's caches of that storage.
fn of_leak<'a>(leak: &Leak, living: &'a [Bound<'_, KmemCache>]) -> Vec<&'a KmemCache> {
    let named = |cache: &&KmemCache| cache.name == leak.cache || leak.aliases.contains(&cache.name);
    living.iter().map(|cache| cache.get()).filter(named).collect()
}

/// Whose an object is and where it was allocated, as far as that is known.
fn origin<'a>(
    py: Python<'_>,
    leak: &'a Leak,
    caches: &[&'a KmemCache],
    object: &LiveObject,
) -> (Option<&'a str>, Site) {
    if caches.is_empty()
        && let site @ Some(_) = kmalloc::site_of(py, object.address)
    {
        return (Some(leak.cache.as_str()), site);
    }
    let tracked = |cache: &&'a KmemCache| Some((cache.name.as_str(), cache.guarded.sites()?.of(py, object.address)?));
    match caches.iter().find_map(tracked) {
        Some((name, site)) => (Some(name), site),
        None => {
            // What no tracked name knows as its own is of the others, of which there may be one.
            let tracks =
                |name: &&str| caches.iter().any(|cache| cache.name == *name && cache.guarded.sites().is_some());
            let names = std::iter::once(&leak.cache).chain(&leak.aliases).map(String::as_str);
            let mut others = names.filter(|name| !tracks(name));
            (others.next().filter(|_| others.next().is_none()), None)
        }
    }
}

fn as_dict<'py>(py: Python<'py>, leak: &Leak, caches: &[&KmemCache]) -> PyResult<Bound<'py, PyDict>> {
    let objects = PyList::empty(py);
    for object in &leak.sample {
        let (name, site) = origin(py, leak, caches, object);
        let dict = PyDict::new(py);
        dict.set_item("address", object.address)?;
        dict.set_item("index", object.index)?;
        dict.set_item("cache", name)?;
        dict.set_item("site", site.as_deref())?;
        objects.append(dict)?;
    }
    let names = PyDict::new(py);
    for cache in caches {
        names.set_item(&cache.name, cache.guarded.live())?;
    }
    if caches.is_empty()
        && let Some(view) = Arena::global().ok().and_then(|arena| CacheView::of(arena, &arena.find_name(&leak.cache)?))
    {
        names.set_item(&leak.cache, view.live())?;
    }
    let dict = PyDict::new(py);
    dict.set_item("cache", &leak.cache)?;
    dict.set_item("aliases", &leak.aliases)?;
    dict.set_item("live", leak.live)?;
    dict.set_item("prefilled", leak.prefilled)?;
    dict.set_item("names", names)?;
    dict.set_item("objects", objects)?;
    Ok(dict)
}

/// The first few places of objects: "0x... (index 1), allocated at file:line; ...".
fn places(objects: &[LiveObject], sites: &[Site], live: u64) -> String {
    let mut few = Vec::new();
    for (object, site) in objects.iter().zip(sites).take(FEW) {
        let at = site.as_ref().map_or_else(String::new, |site| format!(", allocated at {site}"));
        few.push(format!("{:#x} (index {}){at}", object.address, object.index));
    }
    let more = if live > few.len() as u64 { "; ..." } else { "" };
    few.join("; ") + more
}

impl KmemCache {
    /// Its own live objects and their sites, by address, and how many there are: of a tracked cache.
    fn own_live(&self, py: Python<'_>, sites: &Sites) -> (Vec<LiveObject>, Vec<Site>) {
        // In shared slabs the first ones may all be others'.
        let most = if self.guarded.name().is_shared() { usize::MAX } else { SAMPLE };
        let found = self.inside(py, |raw| py.detach(|| raw.live_objects(most)));
        let own = found.map_or_else(|_| Vec::new(), |(_, all)| all);
        own.into_iter().filter_map(|object| Some((object, sites.of(py, object.address)?))).take(SAMPLE).unzip()
    }

    /// The error for a cache that was not destroyed: the core's, with whose objects these are and where they were allocated.
    #[cold]
    pub(crate) fn busy(&self, py: Python<'_>, mut error: Error) -> PyErr {
        let Error::CacheBusy { live, prefilled, .. } = error else { return errors::from_core(py, error) };
        if live == 0 {
            return errors::from_core(py, error);
        }
        if let Some(sites) = self.guarded.sites() {
            if let Error::CacheBusy { sample, .. } = &mut error {
                // They are named below.
                sample.clear();
            }
            let (objects, sites) = self.own_live(py, sites);
            let text = format!("{error}; live: {}", places(&objects, &sites, live));
            return errors::busy(py, text, (live, prefilled), Named { objects, sites, shared: false });
        }
        if !self.guarded.name().is_shared() {
            return errors::from_core(py, error);
        }
        self.busy_in_shared_slabs(py, &error, (live, prefilled))
    }

    /// The error for a cache that does not know its own among the objects of shared slabs: those that no tracked name knows as its
    /// own are named.
    fn busy_in_shared_slabs(&self, py: Python<'_>, error: &Error, (live, prefilled): (u64, u64)) -> PyErr {
        let mut others = self.guarded.name().aliases();
        let living = registry::living(py).unwrap_or_default();
        let tracked: Vec<_> =
            living.iter().map(|cache| cache.get()).filter(|cache| others.contains(&cache.name)).collect();
        let tracked: Vec<_> =
            tracked.into_iter().filter_map(|cache| Some((&cache.name, cache.guarded.sites()?))).collect();
        others.retain(|other| tracked.iter().all(|(name, _)| *name != other));
        let most = if tracked.is_empty() { SAMPLE } else { usize::MAX };
        let (mut all, mut objects) = self.inside(py, |raw| py.detach(|| raw.live_objects(most))).unwrap_or_default();
        if !tracked.is_empty() {
            objects.retain(|object| tracked.iter().all(|(_, sites)| sites.of(py, object.address).is_none()));
            all = objects.len() as u64;
            objects.truncate(SAMPLE);
        }
        let (sites, shared) = (vec![None; objects.len()], !others.is_empty());
        let whose =
            if shared { format!(" in the slabs that it shares with {}", others.join(", ")) } else { String::new() };
        let text = format!("{error}; live{whose}: {}", places(&objects, &sites, all));
        errors::busy(py, text, (live, prefilled), Named { objects, sites, shared })
    }

    /// What the warning about a cache left with live objects adds where it tracks them.
    pub(crate) fn left_at(&self, py: Python<'_>) -> String {
        let Some(sites) = self.guarded.sites() else { return String::new() };
        let (objects, sites) = self.own_live(py, sites);
        if objects.is_empty() { String::new() } else { format!(" ({})", places(&objects, &sites, self.guarded.live())) }
    }
}

/// Run by `atexit`: writes the caches with live objects to standard error, if the process that asked for it is this one.
#[pyfunction]
fn _report_leaks(py: Python<'_>, process: u32) -> PyResult<()> {
    if process != std::process::id() {
        return Ok(());
    }
    let mut text = String::new();
    let (found, living) = look(py)?;
    for leak in &found {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "haybarn: at exit: {leak}");
        let caches = of_leak(leak, &living);
        for object in &leak.sample {
            if let (Some(name), Some(site)) = origin(py, leak, &caches, object) {
                let LiveObject { address, index, .. } = object;
                let _ = writeln!(text, "haybarn:   {address:#x} (index {index}) of '{name}', allocated at {site}");
            }
        }
    }
    let stderr = py.import("sys")?.getattr("stderr")?;
    if stderr.is_none() {
        // The core's report goes to the file, not to Python's.
        return Ok(());
    }
    if !text.is_empty() {
        stderr.call_method1("write", (text,))?;
        stderr.call_method0("flush")?;
    }
    leaks_were_reported();
    Ok(())
}

/// Adds the function, and the report where `HAYBARN_LEAKS` asks for it. A value that is not legal is an error of the first cache.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_function(wrap_pyfunction!(leaks, module)?)?;
    if matches!(leaks_wanted(), Ok(true)) {
        // At the core's moment, after the interpreter's end, nobody knows Python's lines any more.
        let report = wrap_pyfunction!(_report_leaks, module)?;
        py.import("atexit")?.call_method1("register", (report, std::process::id()))?;
    }
    Ok(())
}
