//! `bindgen FILE.wasm FOLDER`: writes what JavaScript needs to run a WebAssembly program into a folder,
//! like `wasm-bindgen --target web --no-typescript`. That program would take minutes to install.

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, folder] = &arguments[..] else {
        eprintln!("usage: bindgen FILE.wasm FOLDER");
        std::process::exit(2);
    };
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let bindgen = bindgen.input_path(file).typescript(false).omit_default_module_path(false);
    if let Err(error) = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder)) {
        eprintln!("bindgen {file}: {error:?}");
        std::process::exit(1);
    }
}
