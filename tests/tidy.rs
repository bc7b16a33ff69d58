//! Checks that the documents agree with the source and the tests: rooms, tags, unsafe code, ports
//! of asyncio's tests, both READMEs, the files of the package. A *room* is a folder with one theme,
//! whose imports `docs/architecture.md` limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The content of all Rust files below a folder, by their path from the package's root.
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

/// The heart of the kernel: its files, and the parts of them in their own folders.
const HEART: [&str; 5] = ["cell", "clock", "ready", "token", "wheel"];

/// The room of a file: a folder of the vocabulary, or of the kernel; `kernel` is its heart. `None`
/// for the files directly in `src/`, which the table of rooms does not contain.
fn room(file: &str) -> Option<String> {
    let mut path = file.strip_prefix("src/")?.split('/');
    let (folder, next) = (path.next()?, path.next()?);
    if folder != "kernel" {
        return Some(folder.into());
    }
    let is_room = path.next().is_some() && !HEART.contains(&next) && next != "tests";
    Some(if is_room { format!("kernel/{next}") } else { "kernel".into() })
}

/// The paths from `src/` that `use` lines and code name by `crate::` or `super::`, such as
/// `kernel/table/waker/keep`.
fn named_paths(file: &str, text: &str) -> BTreeSet<String> {
    let code = library_part(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.flat_map(|line| [line.trim(), " "]).collect();
    let module = file.strip_prefix("src/").unwrap().trim_end_matches(".rs").trim_end_matches("/mod");
    let mut found = BTreeSet::new();
    // `use part::..` begins at the file itself.
    for (at, _) in code.match_indices("use ") {
        expand(module.trim_start_matches("mod"), &code[at + 4..], &mut found);
    }
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_part_of_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if is_part_of_a_name {
            continue;
        }
        let (mut base, mut rest) = (module.to_string(), &code[at..]);
        if let Some(path) = rest.strip_prefix("crate::") {
            (base, rest) = (String::new(), path);
        }
        while let Some(path) = rest.strip_prefix("super::") {
            (base, rest) = (base.rsplit_once('/').map_or(String::new(), |(outer, _)| outer.into()), path);
        }
        expand(&base, rest, &mut found);
    }
    found
}

/// Adds each path that `a::{b, c::d}` stands for.
fn expand(base: &str, path: &str, found: &mut BTreeSet<String>) {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    let base = if name.is_empty() { base.to_string() } else { format!("{base}/{name}").trim_start_matches('/').into() };
    let Some(rest) = rest.strip_prefix("::").or(rest.strip_prefix('{').map(|_| rest)) else {
        found.insert(base);
        return;
    };
    let Some(inner) = rest.strip_prefix('{') else { return expand(&base, rest, found) };
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                expand(&base, inner[begin..at].trim(), found);
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// The rooms that each room imports from, without the heart, which every room may import.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources("src");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in &sources {
        let Some(from) = room(file).filter(|_| !file.contains("tests")) else { continue };
        let imports = found.entry(from.clone()).or_default();
        for path in named_paths(file, text) {
            // The longest part of the path that is a file.
            let parts =
                std::iter::successors(Some(path.as_str()), |path| path.rsplit_once('/').map(|(outer, _)| outer));
            let files = parts.flat_map(|path| [format!("src/{path}.rs"), format!("src/{path}/mod.rs")]);
            let import = files.into_iter().find(|file| sources.contains_key(file)).and_then(|file| room(&file));
            imports.extend(import.filter(|import| *import != from && import != "kernel"));
        }
    }
    found
}

/// The rows of the table of rooms in `docs/architecture.md`: a room, and the rooms that it may
/// import from.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let text = document("docs/architecture.md");
    let table = text.split("<!-- rooms -->").nth(1).expect("the rooms are between two marks");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once('`'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect();
    rows.map(|(room, rest)| (room.into(), names(rest.rsplit('|').next().unwrap()))).collect()
}

#[test]
fn rooms_import_as_the_picture_says() {
    assert_eq!(imports(), rooms());
}

/// The heart calls the kernel's rooms through its seams, and they call each other through the
/// heart. The rooms of the vocabulary must not form a circle.
#[test]
fn themes_of_the_vocabulary_make_no_circle() {
    let mut left = imports();
    left.retain(|room, _| !room.starts_with("kernel"));
    while !left.is_empty() {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imports| !imports.is_disjoint(&names));
        assert!(left.len() < before, "these import from each other in a circle: {left:?}");
    }
}

/// The page to be read in ten minutes names ten functions, each with its line. Checks that the
/// lines are right.
#[test]
fn ten_functions_stand_where_the_page_says() {
    let text = document("docs/architecture.md");
    let table = text.split("<!-- ten -->").nth(1).expect("the functions are between two marks");
    let mut found = 0;
    for row in table.lines().filter(|row| row.contains(".rs:")) {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let (file, line) = names[1].rsplit_once(':').unwrap();
        let source = document(file);
        let said = source.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap_or_default();
        let stands = source.lines().position(|line| line.contains(&format!("fn {}(", names[0])));
        let stands = stands.map_or("nowhere".into(), |line| format!("in line {}", line + 1));
        assert!(said.contains(&format!("fn {}(", names[0])), "{} is not at {}, but {stands}", names[0], names[1]);
        found += 1;
    }
    assert_eq!(found, 10);
}

/// Documents and comments name only files that exist.
#[test]
fn named_files_exist() {
    let folders = ["src", "tests", "benches", "examples"];
    let files: Vec<String> = folders.iter().flat_map(|folder| sources(folder).into_keys()).collect();
    let mut texts: Vec<(String, String)> = sources("src").into_iter().collect();
    texts.extend(
        ["README.md", "docs/architecture.md", "docs/asyncio.md", "docs/porting.md", "docs/works-with.md"]
            .map(|name| (name.into(), document(name))),
    );
    let mut found = 0;
    for (name, text) in texts {
        let is_prose = |line: &&str| name.ends_with(".md") || line.trim_start().starts_with("//");
        for path in text.lines().filter(is_prose).flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let is_path = path.ends_with(".rs") && !path.contains(|c: char| c.is_whitespace() || "*<(:".contains(c));
            if is_path {
                found += 1;
                let is_there = files.iter().any(|file| file == path || file.ends_with(&format!("/{path}")));
                assert!(is_there, "{name} names {path}, which does not exist");
            }
        }
    }
    assert!(found > 100, "{found}");
}

/// `docs/works-with.md` has a row for each program of `examples/works-with`, and no other rows. Each
/// line of glue that it prints is in the program, and the row has the number of these lines.
#[test]
fn each_program_with_another_crate_has_a_row() {
    let page = document("docs/works-with.md");
    let programs: BTreeMap<String, String> = sources("examples/works-with/src/bin")
        .into_iter()
        .map(|(file, text)| (file.rsplit('/').next().unwrap().trim_end_matches(".rs").into(), text))
        .collect();
    let rows: BTreeMap<&str, &str> = table_rows(page.split("<!-- programs -->").nth(1).unwrap())
        .iter()
        .filter(|cells| cells[1].starts_with('`'))
        .map(|cells| (cells[1].trim_matches('`'), cells[2]))
        .collect();
    assert_eq!(programs.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>(), "programs and rows");
    let mut printed = 0;
    for (program, rest) in page.split("<!-- glue: ").skip(1).map(|rest| rest.split_once(" -->").unwrap()) {
        let block = rest.split("```").nth(1).unwrap().strip_prefix("rust\n").unwrap();
        let glue: Vec<&str> = block.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for line in &glue {
            let is_there = programs[program].lines().any(|other| other.trim() == *line);
            assert!(is_there, "{program} has no line {line}");
        }
        assert_eq!(rows[program], glue.len().to_string(), "lines of glue of {program}");
        printed += 1;
    }
    assert!(printed > 5, "only {printed} blocks were found");
}

/// The documents promise that the heart can be read in one sitting, so its size is limited.
#[test]
fn heart_is_small_and_told() {
    let heart: BTreeMap<_, _> =
        sources("src/kernel").into_iter().filter(|(file, _)| file.matches('/').count() == 2).collect();
    let lines = || heart.values().flat_map(|text| text.lines());
    let prose = lines().filter(|line| line.trim_start().starts_with("//")).count();
    let all = lines().count();
    assert!(heart.len() == 7 && all <= 2_000, "{all} lines in {:?}", heart.keys());
    assert!(prose * 10 >= all * 3, "{prose} lines of {all} are prose");
}

#[test]
fn each_tag_is_told_asserted_and_tested() {
    let tags =
        ["READY-1", "READY-2", "STEP-1", "STEP-2", "WAKE-1", "WAKE-2", "TIME-1", "TIME-2", "TIME-3", "DONE-1", "END-1"];
    let architecture = document("docs/architecture.md");
    let sources = sources("src");
    let library: String =
        sources.iter().filter(|(name, _)| !name.contains("tests")).map(|(_, text)| library_part(text)).collect();
    let of_files = sources.values().map(|text| &text[library_part(text).len()..]).collect::<String>();
    let of_packages = self::sources("tests").into_iter().filter(|(name, _)| name != "tests/tidy.rs");
    let inner = sources.iter().filter(|(name, _)| name.contains("tests")).map(|(_, text)| text.as_str());
    let tests = of_files + &inner.collect::<String>() + &of_packages.map(|(_, text)| text).collect::<String>();
    for tag in tags {
        assert!(architecture.contains(tag), "docs/architecture.md does not explain {tag}");
        assert!(library.contains(&format!("\"{tag}: ")), "no assertion in src/ guards {tag}");
        assert!(tests.contains(tag), "no test names {tag}");
    }
}

#[test]
fn unsafe_code_stands_where_it_is_told() {
    let allowed = [
        // The cell keeps a counted, type-erased future and its outcome in one place. These files
        // make it, lend it and empty it.
        "src/kernel/cell.rs",
        "src/kernel/cell/extra.rs",
        "src/kernel/cell/failed.rs",
        "src/kernel/cell/memory.rs",
        "src/kernel/cell/typed.rs",
        "src/kernel/cell/unread.rs",
        // The ready queue is a list through the headers of tasks, and the nodes of callbacks.
        "src/kernel/ready.rs",
        "src/kernel/ready/tests.rs",
        "src/kernel/ready/view.rs",
        "src/kernel/table/entry.rs",
        // The table: rows store tasks as one word, and it is borrowed without a flag when tasks are
        // switched.
        "src/kernel/table.rs",
        "src/kernel/table/rows.rs",
        "src/kernel/table/unwinding.rs",
        "src/kernel/table/view.rs",
        "src/kernel/table/waiters.rs",
        "src/kernel/table/waits.rs",
        // The running loop is found without counting a reference.
        "src/kernel/table/context.rs",
        "src/kernel/timers/mod.rs",
        // The waker's vtable, and its data: a token, or the address of a counted token.
        "src/kernel/table/waker.rs",
        "src/kernel/token/data.rs",
        "src/kernel/token/shared.rs",
        // Locks and values of one thread, without std.
        "src/platform/bare.rs",
        // A value that is `Send` although its type is not: only its own thread uses it.
        "src/outside/local.rs",
        // The poller keeps the number of a descriptor.
        "src/kernel/idle/sockets/watched.rs",
    ];
    for (file, text) in sources("src") {
        let has = ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"].iter().any(|word| text.contains(word));
        assert_eq!(has, allowed.contains(&file.as_str()), "{file}");
    }
}

/// Every function, method, type, trait, macro and module in the documentation has an example.
#[test]
fn each_public_item_has_an_example() {
    /// Whether docs have a code block that is run. A `text` block is a picture, and a
    /// `compile_fail` block shows a wrong use.
    fn has_example<'a>(docs: impl Iterator<Item = &'a str>) -> bool {
        let fences = docs.filter_map(|line| line.trim_start_matches(['/', '!']).trim_start().strip_prefix("```"));
        let not_run = ["text", "ignore", "no_run", "compile_fail"];
        fences.step_by(2).any(|language| !not_run.iter().any(|word| language.contains(word)))
    }

    /// The public item that a line declares: its kind, such as `fn`, and its name.
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
            ["src/kernel/callbacks/exceptions.rs", "src/kernel/observe/probe.rs", "src/kernel/observe/task_id.rs"]
                .contains(&file.as_str());
        if file.starts_with("src/kernel/") && !is_public {
            continue;
        }
        let lines: Vec<&str> = library_part(text).lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let Some((kind, name)) = declares(line) else { continue };
            // The lines upward to the end of another item: docs and attributes, also those of
            // several lines.
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
    assert!(found > 200, "only {found} public items were found, so the search is wrong");
    assert!(without.is_empty(), "these have no runnable example: {without:#?}");
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
    let table = page.split("<!-- tests -->").nth(1).expect("the table is between two marks");
    let rows = asyncio_rows(table);
    let twins: BTreeSet<(String, String)> = twins().into_iter().collect();
    let mut names = BTreeMap::new();
    let mut counts = BTreeMap::from([("passes", 0), ("differs", 0), ("no meaning", 0), ("later", 0)]);
    for (test, state, why) in &rows {
        let (class, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} names no class"));
        let twin = (snake_case(class), name.to_string());
        *counts.get_mut(state).unwrap_or_else(|| panic!("{test} is in no state: {state}")) += 1;
        if *state == "passes" {
            assert!(twins.contains(&twin), "docs/asyncio.md lists {test}, but tests/asyncio/ has no such test");
        } else {
            assert!(why.ends_with('.'), "the reason for {test} does not end with a full stop: {why}");
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

/// The package contains the sources, the examples, the documents, and all targets of the README's
/// links. It contains no tests or benchmarks.
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
    assert!(links.len() > 3, "only {links:?} were found, so the search is wrong");
    for link in links {
        // The README represents its folder.
        let is_held = files.lines().any(|file| file == link || file == format!("{link}/README.md"));
        assert!(is_held, "the README links to {link}, which is not in the package:\n{files}");
    }
    for file in files.lines() {
        let (folder, _) = file.split_once('/').unwrap_or(("", file));
        assert!(["", "docs", "examples", "src"].contains(&folder), "{file} is in the package");
    }
}

/// The code blocks of a page, without comments, which may be in another language.
fn code_blocks(text: &str) -> Vec<String> {
    let without_comment = |line: &str| {
        let end = ["// ", "  # "].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
        line[..end].trim_end().to_string()
    };
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.map(|block| block.lines().map(without_comment).collect::<Vec<_>>().join("\n")).collect()
}

/// The cells of all tables of a page, row by row.
fn table_rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").collect()).collect()
}

/// Both READMEs show the same programs, and their tables have the same rows, names and figures.
#[test]
fn chinese_readme_has_the_code_and_the_names_of_the_english_one() {
    fn names(cell: &str) -> BTreeSet<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }
    let (english, chinese) = (document("README.md"), document("README.zh-CN.md"));
    let (of_english, of_chinese) = (code_blocks(&english), code_blocks(&chinese));
    assert!(of_english.len() > 6, "only {} blocks were found", of_english.len());
    assert_eq!(of_english, of_chinese);
    let (of_english, of_chinese) = (table_rows(&english), table_rows(&chinese));
    assert!(of_english.len() > 60, "only {} rows were found", of_english.len());
    assert_eq!(of_english.len(), of_chinese.len(), "the tables have different numbers of rows");
    for (row, twin) in of_english.iter().zip(&of_chinese) {
        assert_eq!(row.len(), twin.len(), "{row:?} and {twin:?} have different numbers of cells");
        for (cell, twin) in row.iter().zip(twin) {
            assert_eq!(names(cell), names(twin), "{cell} and {twin} have different names");
            // Text that is not translated must be equal, for example a figure.
            assert!(cell == twin || !twin.is_ascii(), "{cell} is {twin} in Chinese");
        }
    }
}

/// The core depends on two crates; every other dependency is optional.
#[test]
fn the_core_has_two_dependencies() {
    let manifest = document("Cargo.toml");
    let mut needed = BTreeSet::new();
    let mut of_library = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            of_library = line.ends_with("dependencies]") && !line.contains("dev-") && !line.contains("build-");
        } else if let Some((name, what)) = line.split_once(" = ") {
            if of_library && !what.contains("optional = true") {
                needed.insert(name.trim().to_string());
            }
        }
    }
    assert_eq!(needed, BTreeSet::from(["futures-task".into(), "slab".into()]));
}

/// The page on the cost of looking has the figures of the table of instructions.
#[test]
fn the_cost_of_looking_is_that_of_the_table() {
    let table = document("benches/instructions/table.md");
    let page = document("docs/performance/looking.md");
    let ours = |case: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{case}` |"))).unwrap();
        row.split('|').nth(4).unwrap().trim().parse::<f64>().unwrap().round().to_string()
    };
    let row = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap().to_string();
    let (plain, counted) = (row("| not observed |"), row("| `LoopBuilder::metrics(true)` |"));
    assert!(plain.contains(&format!("| {} | {} |", ours("yield-1000"), ours("yield-1"))), "{plain}");
    for case in ["yield-1000-metrics", "yield-1-metrics"] {
        assert!(counted.contains(&format!("| {} (", ours(case))), "{counted}");
    }
    let debug = row("| `LoopBuilder::debug(true)` |");
    assert!(debug.contains(&format!("| {},", ours("yield-1000-debug"))), "{debug}");
}
