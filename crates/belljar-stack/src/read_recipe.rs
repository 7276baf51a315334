//! From TOML to recipes, and to the values of their parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use belljar_model::ServiceName;
use regex::Regex;
use toml::de::DeValue;

use crate::fault::Fault;
use crate::keys::Level;
use crate::near::suggestion;
use crate::package::{Manager, Package};
use crate::read_service::Services;
use crate::recipe::{Origin, Output, Parameter, ParameterKind, Program, Recipe, RecipeBook};
use crate::reference::{Author, Template};
use crate::source::Text;
use crate::walk::{Entries, Entry, Node, Walk};

impl Walk {
    /// The recipes that a stack file brings itself, `[recipe.NAME]`, on top of those it is given.
    pub(crate) fn local_recipes(&mut self, top: &Entries<'_>, book: &RecipeBook) -> RecipeBook {
        let mut book = book.clone();
        let recipes = self.named(top.get("recipe"), "recipe", |walk, entry| {
            let table = walk.table(&entry.value, "a table, as in `[recipe.NAME]`")?;
            walk.recipe(&entry.key, &table, Origin::StackFile)
        });
        for recipe in recipes.into_iter().map(Arc::new) {
            self.faults.extend(recipe.faults());
            book.insert(recipe);
        }
        book
    }

    /// A recipe; `start` is its name and where faults of the whole are shown.
    pub(crate) fn recipe(&mut self, start: &Text, top: &Entries<'_>, origin: Origin) -> Option<Recipe> {
        self.check_keys(top, Level::Recipe);
        let Text { value: name, place: start } = start.clone();
        let service_name = ServiceName::new(name.as_str()).ok();
        if service_name.is_none() {
            self.fault(&start, format!("`{name}` is not the name of a recipe"), ServiceName::RULE);
        }
        let summary =
            top.get("summary").and_then(|node| self.string(node, "a string: what it is, in one line"));
        if top.get("summary").is_none() {
            self.fault(&start, "a recipe without a summary", "expected `summary`, one line");
        }
        let parameters = self.named(top.get("parameters"), "parameter", Self::parameter);
        let programs = self.named(top.get("programs"), "program", Self::program);
        let outputs = self.named(top.get("outputs"), "output", |walk, entry| {
            let text = walk.string(&entry.value, "a string")?;
            let template = Template::parse(&text, Author::Recipe, &mut walk.faults);
            Some(Output { name: entry.key.value.clone(), text: text.value, template })
        });
        let Some(service) = top.entry("service") else {
            self.fault(&start, "a recipe without a service", "expected `[service]`");
            return None;
        };
        let service = self.service(service_name?, service, Services::OfRecipe)?;
        for (parameter, _) in &service.flags {
            if !parameters.iter().any(|one| one.name == parameter.value) {
                let names = parameters.iter().map(|one| one.name.as_str());
                self.faults.push(
                    Fault::new(
                        &parameter.place,
                        format!("there is no parameter `{}`", parameter.value),
                        "flags are named after a parameter",
                    )
                    .with_maybe_help(suggestion(&parameter.value, "parameters", names)),
                );
            }
        }
        let mut text =
            |key| top.get(key).and_then(|node| self.string(node, "a string")).map(|text| text.value);
        let notes = text("notes");
        let example = text("example").unwrap_or_else(|| format!("[service.{name}]\nuse = \"{name}\"\n"));
        Some(Recipe {
            name,
            summary: summary?.value,
            notes,
            example,
            parameters,
            programs,
            outputs,
            origin,
            source: Arc::clone(&self.source),
            service,
        })
    }

    fn parameter(&mut self, entry: &Entry<'_>) -> Option<Parameter> {
        let level = Level::Parameter;
        let table = self.keyed_table(&entry.value, level, "a table, as in `[parameters.NAME]`")?;
        let kind = match table.get("type") {
            Some(node) => self.choice(level, "type", node, ParameterKind::ALL)?,
            None => ParameterKind::String,
        };
        let pattern = table.get("pattern").and_then(|node| self.regex(node)).filter(|text| {
            let fits = whole(&text.value).is_ok();
            if !fits {
                self.fault(&text.place, "this pattern cannot be anchored", "expected no open comment in it");
            }
            fits
        });
        let doc = table.get("doc").and_then(|node| self.string(node, "a string: what it does"));
        if table.get("doc").is_none() {
            self.fault(&entry.key.place, "a parameter that is not described", "expected `doc`, one sentence");
        }
        let mut parameter = Parameter {
            name: entry.key.value.clone(),
            kind,
            default: None,
            doc: doc?.value,
            pattern: pattern.map(|text| text.value),
        };
        parameter.default = table.get("default").and_then(|node| self.parameter_value(&parameter, node));
        Some(parameter)
    }

    fn program(&mut self, entry: &Entry<'_>) -> Option<Program> {
        let table = self.keyed_table(&entry.value, Level::Program, "a table, as in `[programs.NAME]`")?;
        let dirs =
            table.get("dirs").and_then(|node| self.strings(node, "a list of strings: globs of directories"));
        let dirs = dirs.unwrap_or_default();
        let only = table.get("only").and_then(|node| self.string(node, "a string: a directory"));
        let package = table.get("package").and_then(|node| self.string(node, "a string: the package's name"));
        let mut packages: Vec<_> =
            package.into_iter().map(|name| Package { manager: Manager::Apt, name: name.value }).collect();
        packages.extend(self.packages(table.get("packages")));
        Some(Program {
            name: entry.key.value.clone(),
            packages,
            dirs: dirs.iter().map(|dir| Template::parse(dir, Author::Recipe, &mut self.faults)).collect(),
            only: only.map(|dir| Template::parse(&dir, Author::Recipe, &mut self.faults)),
        })
    }

    fn packages(&mut self, node: Option<&Node<'_>>) -> Vec<Package> {
        let expected = "a table such as { dnf = \"redis\", apk = \"redis\" }";
        let table = node.and_then(|node| self.keyed_table(node, Level::Packages, expected));
        let mut packages = Vec::new();
        for Entry { key, value } in table.into_iter().flat_map(|table| table.list) {
            let name = self.string(&value, "a string: the package's name");
            if let (Some(manager), Some(name)) = (Manager::of_name(&key.value), name) {
                packages.push(Package { manager, name: name.value });
            }
        }
        packages
    }

    /// The values of a recipe's parameters, out of what is `given` and the defaults.
    pub(crate) fn parameters(
        &mut self,
        recipe: &Recipe,
        name: &Text,
        given: &[Entry<'_>],
    ) -> BTreeMap<String, Text> {
        for Entry { key, .. } in given {
            if !recipe.parameters.iter().any(|one| one.name == key.value) {
                let names = recipe.parameters.iter().map(|one| one.name.as_str());
                let message = format!("the recipe `{}` has no parameter `{}`", recipe.name, key.value);
                self.faults.push(
                    Fault::new(&key.place, message, "this parameter is unknown").with_maybe_help(suggestion(
                        &key.value,
                        "its parameters",
                        names,
                    )),
                );
            }
        }
        let mut values = BTreeMap::new();
        for parameter in &recipe.parameters {
            let given = given.iter().find(|entry| entry.key.value == parameter.name);
            let place = given.map_or(&name.place, |entry| &entry.value.place).clone();
            let value = match given {
                Some(entry) => self.parameter_value(parameter, &entry.value),
                None => parameter.default.clone().or_else(|| {
                    let message = format!("the recipe `{}` needs `{}`", recipe.name, parameter.name);
                    let help = format!("write `with = {{ {} = … }}`: {}", parameter.name, parameter.doc);
                    self.faults
                        .push(Fault::new(&name.place, message, "this parameter is missing").with_help(help));
                    None
                }),
            };
            // A value that is at fault gives way to an example, so that the rest is checked with something; no
            // service of the stack is known yet.
            let value = value.unwrap_or_else(|| parameter.kind.example("").to_owned());
            values.insert(parameter.name.clone(), Text { value, place });
        }
        values
    }

    fn parameter_value(&mut self, parameter: &Parameter, node: &Node<'_>) -> Option<String> {
        let value = match (parameter.kind, node.value) {
            (ParameterKind::String | ParameterKind::Service, _) => {
                self.string(node, &format!("a string for `{}`", parameter.name))?.value
            }
            (ParameterKind::Integer, _) => self.number(node, i64::MIN..=i64::MAX)?.to_string(),
            (ParameterKind::Boolean, DeValue::Boolean(value)) => value.to_string(),
            (ParameterKind::Boolean, _) => {
                return self.wrong_type(node, &format!("true or false for `{}`", parameter.name));
            }
        };
        if value.contains("${") {
            let message = format!("`{}` takes no references", parameter.name);
            self.fault(&node.place, message, "a recipe's parameters are known before any session is");
            return None;
        }
        if let Some(pattern) = &parameter.pattern
            && !whole(pattern).is_ok_and(|whole| whole.is_match(&value))
        {
            let message = format!("`{value}` does not fit `{}`", parameter.name);
            self.faults.push(
                Fault::new(&node.place, message, format!("expected a text that matches `{pattern}`"))
                    .with_help(parameter.doc.clone()),
            );
            return None;
        }
        Some(value)
    }
}

/// The pattern as one that the whole of a value has to match.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}
