//! The files of a crate import each other in one direction: no file imports another one that
//! imports it, at however many removes.
//!
//! An arrow leads from a file to the file that defines the imported name. A file that only passes a
//! name on (`pub use`) has no arrow to it, and tests have none at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The longest chain of imports in the gateway, in files.
const GATEWAY_LEVELS_MAX: usize = 10;

/// A module's path below its crate: `["topics", "hub"]`.
type Module = Vec<String>;

/// One use of a name: its path as it is written, and the name that it has afterwards.
#[derive(Debug)]
struct Import {
    path: Vec<String>,
    name: String,
    is_passed_on: bool,
}

#[derive(Debug)]
struct File {
    imports: Vec<Import>,
    /// The code without its imports.
    code: String,
}

#[derive(Debug, Default)]
struct Crate {
    files: BTreeMap<Module, File>,
}

/// Code without comments and texts.
fn without_texts(code: &str) -> String {
    let bytes: Vec<char> = code.chars().collect();
    let (mut out, mut at) = (String::with_capacity(code.len()), 0);
    let starts = |at: usize, text: &str| {
        let mut chars = text.chars();
        bytes[at..]
            .iter()
            .take(text.len())
            .all(|&char| chars.next() == Some(char))
            && chars.next().is_none()
    };
    while at < bytes.len() {
        if starts(at, "//") {
            while at < bytes.len() && bytes[at] != '\n' {
                at += 1;
            }
            continue;
        }
        let hashes = match bytes[at] {
            'r' => bytes[at + 1..]
                .iter()
                .take_while(|&&char| char == '#')
                .count(),
            _ => 0,
        };
        let is_name_before = out.ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let is_raw = bytes[at] == 'r' && bytes.get(at + 1 + hashes) == Some(&'"');
        if is_raw && (!is_name_before || out.ends_with('b')) {
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            out.push_str("\"\"");
        } else if bytes[at] == '"' {
            at += 1;
            while bytes[at] != '"' {
                at += if bytes[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if bytes[at] == '\'' && bytes.get(at + 1) == Some(&'\\') {
            at += 3;
            while bytes[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if bytes[at] == '\'' && bytes.get(at + 2) == Some(&'\'') {
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// Code without the items that are for tests only.
fn without_tests(mut code: String) -> String {
    while let Some(from) = code
        .find("#[cfg(test)]")
        .or_else(|| code.find("#[cfg(any(test"))
    {
        let mut depth = 0;
        let rest = code[from..]
            .char_indices()
            .skip_while(|(_, char)| *char != ']')
            .skip(1);
        let mut end = code.len();
        for (at, char) in rest {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(char, '}' | ';' | ',') {
                end = from + at + 1;
                break;
            }
        }
        code.replace_range(from..end, "");
    }
    code
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The paths of a tree of imports: `a::{b, c::d as e}`.
fn paths_of(tree: &str, before: &[String], is_passed_on: bool, out: &mut Vec<Import>) {
    let (path, branches) = match tree.split_once('{') {
        Some((path, rest)) => (path, rest.trim_end().strip_suffix('}')),
        None => (tree, None),
    };
    let (path, alias) = match path.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (path, None),
    };
    let parts = path
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let mut path: Vec<String> = before.to_vec();
    path.extend(parts.map(str::to_owned));
    if let Some(branches) = branches {
        let (mut depth, mut from) = (0, 0);
        for (at, char) in branches.char_indices() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    paths_of(&branches[from..at], &path, is_passed_on, out);
                    from = at + 1;
                }
                _ => {}
            }
        }
        if !branches[from..].trim().is_empty() {
            paths_of(&branches[from..], &path, is_passed_on, out);
        }
        return;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(name) = alias.or_else(|| path.last().cloned()) {
        out.push(Import {
            path,
            name,
            is_passed_on,
        });
    }
}

/// Takes the imports out of the code.
fn imports_of(code: &str) -> File {
    let (mut imports, mut rest) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let begin = statement
            .match_indices("use ")
            .map(|(at, _)| at)
            .find(|&at| !statement[..at].ends_with(is_name));
        let (Some(begin), true) = (begin, statement.ends_with(';')) else {
            rest.push_str(statement);
            continue;
        };
        let before = &statement[..begin];
        let is_passed_on = before.trim_end().ends_with("pub") || before.trim_end().ends_with(')');
        let tree = statement[begin + 4..statement.len() - 1].replace('\n', " ");
        paths_of(&tree, &[], is_passed_on, &mut imports);
        rest.push_str(before);
    }
    // Paths in the code itself.
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in rest.match_indices(start) {
            if rest[..at].ends_with(|char| is_name(char) || char == ':') {
                continue;
            }
            let end = rest[at..].find(|char| !is_name(char) && char != ':');
            let path = &rest[at..end.map_or(rest.len(), |end| at + end)];
            paths_of(path, &[], false, &mut imports);
        }
    }
    File {
        imports,
        code: rest,
    }
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut files = Self::default();
        files.take(Vec::new(), &source.join("lib.rs"), source);
        files
    }

    fn take(&mut self, module: Module, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).expect("UTF-8");
        let code = without_tests(without_texts(&text));
        let children: Vec<String> = code
            .split_inclusive(';')
            .filter_map(|statement| {
                let (_, name) = statement.strip_suffix(';')?.rsplit_once("mod ")?;
                name.chars().all(is_name).then(|| name.to_owned())
            })
            .collect();
        for child in children {
            let places: [PathBuf; 2] = [
                folder.join(format!("{child}.rs")),
                folder.join(&child).join("mod.rs"),
            ];
            if let Some(file) = places.iter().find(|place| place.exists()) {
                let mut path = module.clone();
                path.push(child.clone());
                self.take(path, file, &folder.join(&child));
            }
        }
        self.files.insert(module, imports_of(&code));
    }

    /// The module of a path, and the name after it. `None` if it is of another crate.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<(Module, Option<String>)> {
        let mut rest = path;
        let mut module = from.clone();
        match rest.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                module.push(first.to_owned());
                if !self.files.contains_key(&module) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        while let Some(part) = rest.first() {
            module.push(part.clone());
            if !self.files.contains_key(&module) {
                module.pop();
                break;
            }
            rest = &rest[1..];
        }
        Some((module, rest.first().cloned()))
    }

    /// The module that defines a name which `module` has.
    fn home(&self, module: &Module, name: &str, depth: usize) -> Module {
        let file = &self.files[module];
        let kinds = ["struct", "enum", "fn", "trait", "const", "static", "type"];
        let defines = kinds.iter().any(|kind| {
            let start = format!("{kind} {name}");
            file.code.match_indices(&start).any(|(at, _)| {
                !file.code[at + start.len()..].starts_with(is_name)
                    && !file.code[..at].ends_with(is_name)
            })
        });
        if defines || depth == 0 {
            return module.clone();
        }
        for import in file.imports.iter().filter(|import| import.name == name) {
            if let Some((there, Some(name))) = self.resolve(module, &import.path) {
                return self.home(&there, &name, depth - 1);
            }
        }
        module.clone()
    }

    /// From each file to the files whose names it uses.
    fn arrows(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let mut arrows = BTreeMap::new();
        for (module, file) in &self.files {
            let mut targets = BTreeSet::new();
            let modules: BTreeMap<&str, Module> = file
                .imports
                .iter()
                .filter_map(|import| match self.resolve(module, &import.path)? {
                    (there, None) => Some((import.name.as_str(), there)),
                    _ => None,
                })
                .collect();
            let mut used: Vec<(Module, String)> = Vec::new();
            for import in &file.imports {
                let is_used = || {
                    let mut places = file.code.match_indices(&import.name);
                    places.any(|(at, name)| {
                        let (before, after) = (&file.code[..at], &file.code[at + name.len()..]);
                        !before.ends_with(is_name)
                            && !after.starts_with(is_name)
                            && !before.ends_with("mod ")
                    })
                };
                if let Some((there, Some(name))) = self.resolve(module, &import.path)
                    && (!import.is_passed_on || is_used())
                {
                    used.push((there, name));
                }
            }
            // `hub::Hub`, where `hub` is imported or a child.
            for (at, _) in file.code.match_indices("::") {
                let begin = file.code[..at]
                    .rfind(|char| !is_name(char))
                    .map_or(0, |at| at + 1);
                let first = &file.code[begin..at];
                if file.code[..begin].ends_with(':') {
                    continue;
                }
                let after = &file.code[at + 2..];
                let end = after.find(|char| !is_name(char)).unwrap_or(after.len());
                let name = after[..end].to_owned();
                let mut child = module.clone();
                child.push(first.to_owned());
                if let Some(there) = modules.get(first) {
                    used.push((there.clone(), name));
                } else if self.files.contains_key(&child) {
                    used.push((child, name));
                }
            }
            for (there, name) in used {
                let home = self.home(&there, &name, 8);
                let (home, _) = self.files.get_key_value(&home).expect("a file");
                if home != module {
                    targets.insert(home);
                }
            }
            arrows.insert(module, targets);
        }
        arrows
    }
}

/// The longest chain from a file down; an error names a circle.
fn chain<'a>(
    module: &'a Module,
    arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    above: &mut Vec<&'a Module>,
    known: &mut BTreeMap<&'a Module, Vec<&'a Module>>,
) -> Result<Vec<&'a Module>, String> {
    if let Some(chain) = known.get(module) {
        return Ok(chain.clone());
    }
    if let Some(at) = above.iter().position(|other| *other == module) {
        let names = above[at..].iter().map(|module| module.join("/"));
        return Err(names.collect::<Vec<_>>().join(" → "));
    }
    above.push(module);
    let mut longest = Vec::new();
    for below in &arrows[module] {
        let below = chain(below, arrows, above, known)?;
        if below.len() > longest.len() {
            longest = below;
        }
    }
    above.pop();
    longest.insert(0, module);
    known.insert(module, longest.clone());
    Ok(longest)
}

/// The longest chain of imports in a crate.
#[track_caller]
fn longest_chain(source: &str) -> Vec<String> {
    let files = Crate::read(&Path::new(ROOT).join(source));
    let arrows = files.arrows();
    let (mut known, mut longest) = (BTreeMap::new(), Vec::new());
    for module in files.files.keys() {
        match chain(module, &arrows, &mut Vec::new(), &mut known) {
            Ok(chain) if chain.len() > longest.len() => longest = chain,
            Ok(_) => {}
            Err(circle) => panic!("{source}: these files import each other: {circle}"),
        }
    }
    longest.iter().map(|module| module.join("/")).collect()
}

#[test]
fn no_files_of_a_crate_import_each_other() {
    let mut sources: Vec<String> = [
        "marketdata",
        "ws-gateway",
        "history",
        "exchange-sim",
        "alerts",
        "bridge",
        "broker",
        "loadtest",
    ]
    .map(|program| format!("{program}/src"))
    .to_vec();
    let crates = fs::read_dir(Path::new(ROOT).join("crates")).expect("a folder");
    for entry in crates.flatten() {
        sources.push(format!("crates/{}/src", entry.file_name().display()));
    }
    for source in &sources {
        let chain = longest_chain(source);
        assert!(!chain.is_empty(), "{source}");
    }
    assert!(sources.len() >= 10, "{sources:?}");
}

#[test]
fn the_chain_of_imports_of_the_gateway_is_short() {
    let chain = longest_chain("ws-gateway/src");
    assert!(chain.len() >= 5, "{chain:?}");
    assert!(
        chain.len() <= GATEWAY_LEVELS_MAX,
        "{} files, one above the other: {chain:#?}",
        chain.len()
    );
}
