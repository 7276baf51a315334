//! The control protocol as its description has it: every route of `openapi.json` is served, and what is answered has
//! what its schema requires.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use belljar_e2e::world;
use serde_json::Value;

const DESCRIPTION: &str = include_str!("../../../docs/reference/openapi.json");

/// The status and the body of one answer.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!(
        "{} {path} HTTP/1.1\r\nHost: belljar\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        method.to_uppercase()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// What the schema requires is there, in all that it refers to.
fn has_what_is_required(value: &Value, schema: &Value, schemas: &Value) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return has_what_is_required(value, &schemas[name], schemas);
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(key.as_str().unwrap()).is_some(), "{key} is missing in {value:#}");
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(key) {
            has_what_is_required(value, schema, schemas);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        has_what_is_required(value, &schema["items"], schemas);
    }
    if schema["additionalProperties"].is_object() {
        for value in value.as_object().into_iter().flat_map(|object| object.values()) {
            has_what_is_required(value, &schema["additionalProperties"], schemas);
        }
    }
}

#[test]
fn every_route_of_the_description_is_served() {
    let env = world!();
    env.stack("[service.web]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\nreplicas = 2\n");
    env.up();
    let control = env.run("env --json").json()["env"]["BELLJAR_CONTROL"].as_str().unwrap().to_owned();
    let socket = Path::new(&control);
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let mut routes = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            routes += 1;
            let (status, body) = ask(socket, method, &path.replace("{verb}", "kill"));
            assert!(status != 404 && status != 405 && status < 500, "{method} {path}: {status} {body}");
            if status >= 400 {
                let error: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(error["error"]["code"], "invalid-request", "{method} {path}: {body}");
            }
        }
    }
    assert!(routes >= 9, "{routes}");
    let (status, body) = ask(socket, "get", "/v1/nothing");
    assert_eq!(status, 404, "{body}");
    let (status, body) = ask(socket, "get", "/v1/session");
    let session: Value = serde_json::from_str(&body).unwrap();
    let schemas = &description["components"]["schemas"];
    assert_eq!(status, 200);
    assert_eq!(session["services"]["web"]["replicas"].as_array().unwrap().len(), 2);
    has_what_is_required(&session, &schemas["SessionView"], schemas);
}
