//! Names the folder for temporary files, as cargo does for benches: `benches/work/place.rs` asks for it.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it"));
    // <target>/<profile>/build/<package>/out
    let target = out.ancestors().nth(4).expect("it lies deep in the target folder");
    println!("cargo::rustc-env=CARGO_TARGET_TMPDIR={}", target.join("tmp").display());
}
