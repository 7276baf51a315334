//! Every example in the reference pages is a stack or a recipe without a fault.

use std::path::Path;

use belljar_stack::{RecipeBook, SourceFile, Stack};

/// The `toml` blocks of a page, each with its first line's number.
pub(crate) fn examples(page: &str) -> Vec<(usize, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = fs_err::read_to_string(path).unwrap();
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (&mut open, line) {
            (None, "```toml") => open = Some((number + 1, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, example)), _) => {
                example.push_str(line);
                example.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn every_example_of_the_reference_pages_is_right() {
    let mut seen = 0;
    for page in ["reference/stack-file.md", "reference/recipes.md", "guide/recipes.md"] {
        // A page's stacks can use the recipes that it has written before.
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("recipes")).unwrap();
        for (line, text) in examples(page) {
            seen += 1;
            // A recipe starts with a comment that names its file.
            let name = text.lines().next().and_then(|first| first.strip_prefix("# recipes/"));
            if let Some(name) = name {
                fs_err::write(dir.path().join("recipes").join(name), &text).unwrap();
            }
            let faults = match RecipeBook::with_dir(dir.path()) {
                Ok(book) if name.is_none() => {
                    let source = SourceFile { path: dir.path().join("belljar.toml"), text };
                    Stack::parse(&source, &book).err()
                }
                book => book.err(),
            };
            assert!(faults.is_none(), "{page}, the example in line {line}:\n{}", faults.unwrap());
        }
    }
    assert!(seen > 10, "only {seen} examples were found");
}
