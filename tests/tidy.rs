//! What the documents say of the source and of the tests, and what these say: floors, tags, unsafe code, the twins of
//! asyncio's tests, the files of the package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// All Rust files below a folder, by their path from the package's root, with what stands in them.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The part of a file that is compiled into the library.
fn library_part(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap().split("#[cfg(all(test").next().unwrap()
}

/// The files that a file imports from: `use crate::x::..`, `use super::x::..`, and the same paths in the code.
fn imports(file: &str, text: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let code = library_part(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (marker, base) in [("crate::", "src/"), ("super::", "src/kernel/")] {
            for part in line.split(marker).skip(1) {
                let path: Vec<&str> = part.split("::").map(|name| name.trim_start_matches('{')).collect();
                let first = path[0].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let second = path
                    .get(1)
                    .map_or("", |name| name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
                let candidates = [
                    format!("{base}{first}/{second}.rs"),
                    format!("{base}{first}.rs"),
                    format!("{base}{first}/mod.rs"),
                    // `super::Kernel`: the module itself.
                    if marker == "super::" { "src/kernel/mod.rs".into() } else { String::new() },
                ];
                found.extend(candidates.into_iter().find(|candidate| files.contains(candidate)));
            }
        }
    }
    found.remove(file);
    found
}

/// The floors of `docs/architecture.md`: a list of files a line, the lowest line at the bottom.
fn floors() -> Vec<Vec<String>> {
    let text = document("docs/architecture.md");
    let picture = text.split("<!-- floors -->").nth(1).expect("the floors stand between two marks");
    let lines = picture.lines().filter(|line| line.contains(".rs"));
    let names = |line: &str| {
        let words = line.split_whitespace().filter(|word| word.ends_with(".rs"));
        words.map(|word| format!("src/{word}")).collect()
    };
    lines.map(names).collect()
}

#[test]
fn imports_go_down() {
    let sources = sources("src");
    let files: BTreeSet<String> = sources.keys().cloned().collect();
    let floors = floors();
    let floor_of = |file: &str| floors.iter().rev().position(|floor| floor.iter().any(|name| name == file));
    for (file, text) in &sources {
        if file.ends_with("tests.rs") || file == "src/lib.rs" {
            continue;
        }
        let floor = floor_of(file).unwrap_or_else(|| panic!("{file} stands on no floor of docs/architecture.md"));
        for import in imports(file, text, &files) {
            let below = floor_of(&import).unwrap_or_else(|| panic!("{import} stands on no floor"));
            assert!(below < floor, "{file} (floor {floor}) imports from {import} (floor {below})");
        }
    }
    for name in floors.iter().flatten() {
        assert!(files.contains(name), "docs/architecture.md names {name}, which is not there");
    }
}

#[test]
fn each_tag_is_told_asserted_and_tested() {
    let tags =
        ["READY-1", "READY-2", "STEP-1", "STEP-2", "WAKE-1", "WAKE-2", "TIME-1", "TIME-2", "TIME-3", "DONE-1", "END-1"];
    let architecture = document("docs/architecture.md");
    let sources = sources("src");
    let library: String =
        sources.iter().filter(|(name, _)| !name.ends_with("tests.rs")).map(|(_, text)| library_part(text)).collect();
    let of_files = sources.values().map(|text| &text[library_part(text).len()..]).collect::<String>();
    let of_packages = self::sources("tests").into_iter().filter(|(name, _)| name != "tests/tidy.rs");
    let tests =
        of_files + &sources["src/kernel/wheel/tests.rs"] + &of_packages.map(|(_, text)| text).collect::<String>();
    for tag in tags {
        assert!(architecture.contains(tag), "docs/architecture.md does not tell of {tag}");
        assert!(library.contains(&format!("\"{tag}: ")), "no assertion in src/ guards {tag}");
        assert!(tests.contains(tag), "no test speaks of {tag}");
    }
}

#[test]
fn unsafe_code_stands_in_two_files() {
    let allowed = ["src/kernel/task.rs", "src/kernel/wakers.rs"];
    for (file, text) in sources("src") {
        let has = ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"].iter().any(|word| text.contains(word));
        assert_eq!(has, allowed.contains(&file.as_str()), "{file}");
    }
}

/// Functions, methods, types, traits, macros and modules: whatever one can look up in the documentation.
#[test]
fn each_public_item_has_an_example() {
    /// Whether docs have a code block that is run. A `text` block is a picture, a `compile_fail` shows what is not to be done.
    fn has_example<'a>(docs: impl Iterator<Item = &'a str>) -> bool {
        let fences = docs.filter_map(|line| line.trim_start_matches(['/', '!']).trim_start().strip_prefix("```"));
        let not_run = ["text", "ignore", "no_run", "compile_fail"];
        fences.step_by(2).any(|language| !not_run.iter().any(|word| language.contains(word)))
    }

    /// What a line declares in public: `fn` and its name, for instance.
    fn declares(line: &str) -> Option<(&str, &str)> {
        let words = match line.strip_prefix("pub ") {
            Some(words) => words,
            None if line.starts_with("macro_rules! ") => line,
            None => return None,
        };
        let qualifiers = ["const", "async", "unsafe", "extern", "\"C\""];
        let mut words = words.split_whitespace().skip_while(|word| qualifiers.contains(word));
        let kind = words
            .next()
            .filter(|kind| ["fn", "struct", "enum", "union", "trait", "type", "mod", "macro_rules!"].contains(kind))?;
        Some((kind, words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?))
    }

    let sources = sources("src");
    let mut found = 0;
    let mut without = Vec::new();
    for (file, text) in &sources {
        let is_public =
            ["src/kernel/exceptions.rs", "src/kernel/probe.rs", "src/kernel/task_id.rs"].contains(&file.as_str());
        if file.starts_with("src/kernel/") && !is_public {
            continue;
        }
        let lines: Vec<&str> = library_part(text).lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let Some((kind, name)) = declares(line) else { continue };
            // Upward to where something else ends: docs and attributes, also those of several lines.
            let is_above =
                |line: &&str| line.starts_with("///") || !(line.is_empty() || line.ends_with(['{', '}', ';']));
            let above: Vec<&str> = lines[..number].iter().rev().copied().take_while(is_above).collect();
            let is_private = kind == "macro_rules!" && !above.contains(&"#[macro_export]");
            if is_private || above.contains(&"#[doc(hidden)]") {
                continue;
            }
            found += 1;
            let in_its_file = || {
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let files = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
                let inner = files.iter().find_map(|file| sources.get(file)).map_or("", |text| text);
                has_example(inner.lines().filter(|line| line.starts_with("//!")))
            };
            let has = has_example(above.into_iter().rev().filter(|line| line.starts_with("///")));
            if !has && (kind != "mod" || !in_its_file()) {
                without.push(format!("{file}:{}: {kind} {name}", number + 1));
            }
        }
    }
    assert!(found > 200, "only {found} public items were found, so they were not looked for in the right way");
    assert!(without.is_empty(), "these have no example that runs: {without:#?}");
}

/// The rows of the table in `docs/asyncio.md`: a test as `Class::name`, its state, and why.
fn asyncio_rows(table: &str) -> Vec<(&str, &str, &str)> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|')?.split_once("` | "));
    let columns = rows.map(|(test, rest)| (test, rest.split_once(" |").expect("three columns")));
    columns.map(|(test, (state, why))| (test, state, why.trim())).collect()
}

/// The name of a module that is named after a Python class.
fn snake_case(class: &str) -> String {
    let mut name = String::new();
    for letter in class.trim_start_matches('_').chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The tests of `tests/asyncio/`: the module, and the name.
fn twins() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for text in sources("tests/asyncio").values() {
        let (mut module, mut is_test) = ("", false);
        for line in text.lines() {
            let word = |before| line.trim_start().strip_prefix(before)?.split(['(', ' ']).next();
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
                module = name;
            } else if line.trim() == "#[test]" {
                is_test = true;
            } else if let Some(name) = word("fn ").filter(|_| std::mem::take(&mut is_test)) {
                found.push((module.to_string(), name.to_string()));
            }
        }
    }
    found
}

#[test]
fn each_test_of_asyncio_is_told_of() {
    let page = document("docs/asyncio.md");
    let table = page.split("<!-- tests -->").nth(1).expect("the table stands between two marks");
    let rows = asyncio_rows(table);
    let twins: BTreeSet<(String, String)> = twins().into_iter().collect();
    let mut names = BTreeMap::new();
    let mut counts = BTreeMap::from([("passes", 0), ("differs", 0), ("no meaning", 0), ("later", 0)]);
    for (test, state, why) in &rows {
        let (class, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} names no class"));
        let twin = (snake_case(class), name.to_string());
        *counts.get_mut(state).unwrap_or_else(|| panic!("{test} is in no state: {state}")) += 1;
        if *state == "passes" {
            assert!(twins.contains(&twin), "{test} is said to pass, and has no test in tests/asyncio/");
        } else {
            assert!(why.ends_with('.'), "{test} is not said why: {why}");
        }
        assert!(names.insert(twin, state).is_none(), "{test} has two rows");
    }
    let classes: BTreeSet<&String> = names.keys().map(|(module, _)| module).collect();
    for (module, name) in twins.iter().filter(|(module, name)| classes.contains(module) && name.starts_with("test_")) {
        assert!(
            names.contains_key(&(module.clone(), name.clone())),
            "{module}::{name} of tests/asyncio/ has no row in docs/asyncio.md"
        );
    }
    let [passes, differs, no_meaning, later] = ["passes", "differs", "no meaning", "later"].map(|state| counts[state]);
    let counted = format!(
        "{} tests: {passes} pass, {differs} differ, {no_meaning} have no meaning here, {later} come later.",
        rows.len()
    );
    assert!(table.contains(&counted), "docs/asyncio.md does not say: {counted}");
    assert!(rows.len() == 610 && passes >= 300, "{counted}");
}

/// What is published: the sources, examples and documents, whatever the README links to, and no tests or benchmarks.
#[test]
fn the_package_holds_what_the_readme_links_to() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut list = Command::new(cargo);
    list.args(["package", "--list", "--allow-dirty", "--offline", "--package", "onelane"]);
    let output = list.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let files = String::from_utf8(output.stdout).unwrap().replace('\\', "/");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let readme = document("README.md");
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let links: Vec<&str> = links.filter(|link| !link.contains("://")).collect();
    assert!(links.len() > 3, "only {links:?} were found, so they were not looked for in the right way");
    for link in links {
        // A folder is shown by its README.
        let is_held = files.lines().any(|file| file == link || file == format!("{link}/README.md"));
        assert!(is_held, "the README links to {link}, which is not in the package:\n{files}");
    }
    for file in files.lines() {
        let (folder, _) = file.split_once('/').unwrap_or(("", file));
        assert!(["", "docs", "examples", "src"].contains(&folder), "{file} is in the package");
    }
}
