//! Rebuilds the program when the page that it embeds has been built again.

fn main() {
    println!("cargo::rerun-if-changed=web/dist");
    if !std::path::Path::new("web/dist/index.html").exists() {
        println!(
            "cargo::warning=web/dist is not built, so klinecast will serve no chart page: run `make web` first"
        );
    }
}
