//! `openapi.json`: made from the route table and the wire types, checked in, and compared by a test.

use belljar_client::wire;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::control::ROUTES;

/// The description of the control protocol, version 1.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    generator.subschema_for::<wire::SessionView>();
    generator.subschema_for::<wire::Targets>();
    generator.subschema_for::<wire::Done>();
    generator.subschema_for::<wire::ProbesView>();
    generator.subschema_for::<wire::EnvView>();
    generator.subschema_for::<wire::ExecRequest>();
    generator.subschema_for::<wire::DownRequest>();
    generator.subschema_for::<wire::ApplyRequest>();
    generator.subschema_for::<wire::ScaleRequest>();
    generator.subschema_for::<wire::ExpireRequest>();
    generator.subschema_for::<wire::Applied>();
    generator.subschema_for::<wire::LogLine>();
    generator.subschema_for::<wire::ErrorBody>();
    generator.subschema_for::<belljar_model::Event>();
    let mut schemas = Value::Object(generator.take_definitions(true));
    schemas.sort_all_objects();

    let mut paths = Map::new();
    for route in ROUTES {
        let mut parameters: Vec<Value> = route
            .query
            .iter()
            .map(|(name, required, about)| {
                json!({"name": name, "in": "query", "required": required, "description": about,
                       "schema": {"type": "string"}})
            })
            .collect();
        if route.path.contains("{verb}") {
            let verbs: Vec<&str> = wire::Verb::ALL.iter().map(|verb| verb.as_str()).collect();
            parameters.push(json!({"name": "verb", "in": "path", "required": true,
                "description": "what to do", "schema": {"type": "string", "enum": verbs}}));
        }
        let mut operation = json!({
            "summary": route.summary,
            "responses": {"default": {"description": "an error",
                "content": {"application/json": {"schema": reference("ErrorBody")}}}},
        });
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = route.body {
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
        }
        let (status, content_type) = match route.path {
            "/v1/exec" => ("101", None),
            "/v1/events" => ("200", Some("text/event-stream")),
            "/v1/logs" => ("200", Some("application/jsonl")),
            _ if route.answer.is_none() => ("204", None),
            _ => ("200", Some("application/json")),
        };
        let mut done = json!({"description": "done"});
        if let (Some(content_type), Some(answer)) = (content_type, route.answer) {
            done["content"] = json!({content_type: {"schema": reference(answer)}});
        }
        operation["responses"][status] = done;
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "belljar control protocol",
            "version": "1",
            "description": "HTTP/1.1 over the unix socket that BELLJAR_CONTROL names, for its owner alone.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
