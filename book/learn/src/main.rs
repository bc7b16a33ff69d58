fn main() {
    let e = &learn::exercises::EXERCISES[0];
    let d = std::path::Path::new("/tmp/t/w");
    std::fs::create_dir_all(d).unwrap();
    for (n, t) in [("begin", e.begin()), ("solution", e.solution())] {
        let f = d.join("x.rs");
        std::fs::write(&f, t).unwrap();
        let v = learn::check::check(e, &f, d);
        match v {
            learn::check::Verdict::Broken(b) => println!("{n}: {} {}\n{}", b.law, b.what, learn::replay::text(&b, 20)),
            other => println!("{n}: {other:?}"),
        }
    }
}
