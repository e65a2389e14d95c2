#![forbid(unsafe_code)]

use super::Sysfs;
use std::path::Path;

#[test]
fn the_recorded_copy_is_read_through_aliases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sysfs-slab-linux-6.18.json.gz");
    let sysfs = Sysfs::read(&path).unwrap();
    let filp = sysfs.attributes("filp").unwrap().unwrap();
    assert_eq!((filp.object_size, filp.align, filp.slab_size, filp.order, filp.objs_per_slab), (184, 64, 192, 0, 21));
    assert_eq!(filp.on, ["hwcache_align", "destroy_by_rcu"]);
    let alias = sysfs.attributes("anon_vma_chain").unwrap().unwrap();
    assert_eq!((alias.object_size, alias.slab_size), (64, 64));
    assert!(sysfs.attributes("anon_vma").unwrap().unwrap().on.contains(&"ctor"));
    assert_eq!(sysfs.attributes("no such cache").unwrap(), None);
}

#[test]
fn what_is_no_copy_is_an_error() {
    assert!(Sysfs::read(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    let path = std::env::temp_dir().join(format!("haybarn-sysfs-{}", std::process::id()));
    std::fs::write(&path, "[1, 2]").unwrap();
    assert!(Sysfs::read(&path).unwrap_err().to_string().contains("not a copy"));
    std::fs::write(&path, r#"{"caches": {"a": {"object_size": "x"}}}"#).unwrap();
    let sysfs = Sysfs::read(&path).unwrap();
    assert_eq!(sysfs.attributes("a").unwrap_err(), "cache a: attribute object_size is \"x\", not a number");
    std::fs::remove_file(path).unwrap();
}
