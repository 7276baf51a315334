//! RabbitMQ.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, sh, stops_with_zero};

/// The protocol's first two words: a client says its version, and the server how one logs in.
const HELLO: &str = "printf 'AMQP\\0\\0\\11\\1' | timeout 10 bash -c 'exec 3<>/dev/tcp/broker/5672; cat >&3; head -c 500 <&3' | tr -d '\\0'";

#[test]
fn rabbitmq_answers_keeps_its_messages_and_stops_by_itself() {
    let env = world!();
    needs!("rabbitmq-server", "curl", "bash");
    env.stack(
        "[service.broker]\nuse = \"rabbitmq\"\n\
         with = { management = true, user = \"ada\", password = \"s3cret\" }\n",
    );
    env.up();
    assert_eq!(says(&env, "echo \"$BROKER_URL\""), "amqp://ada:s3cret@broker:5672");
    sh(&env, HELLO).run().ok().prints(&["RabbitMQ", "PLAIN"]);
    assert!(says(&env, "curl -fsS http://broker:15692/metrics").contains("rabbitmq_build_info{"));
    let api = |path: &str, data: &str| {
        let url = format!("http://broker-1:15672/api/{path}");
        says(&env, &format!("curl -fsS -u ada:s3cret -H 'content-type: application/json' {data} {url}"))
    };
    api("queues/%2f/orders", "-X PUT -d '{\"durable\":true}'");
    let message = r#"{"properties":{"delivery_mode":2},"routing_key":"orders","payload":"a cake","payload_encoding":"string"}"#;
    assert_eq!(api("exchanges/%2f/amq.default/publish", &format!("-d '{message}'")), "{\"routed\":true}");
    kill_and_start(&env, "broker-1");
    let get = "-d '{\"count\":1,\"ackmode\":\"ack_requeue_true\",\"encoding\":\"auto\"}'";
    assert!(api("queues/%2f/orders/get", get).contains("\"payload\":\"a cake\""));
    stops_with_zero(&env, "broker-1", "Stopping message store");
}

#[test]
fn parameters_of_rabbitmq_are_checked() {
    let env = world!();
    refused(&env, "rabbitmq", "user = \"a b\"", &["does not fit `user`"]);
    refused(&env, "rabbitmq", "password = \"\"", &["does not fit `password`"]);
    refused(&env, "rabbitmq", "management = 1", &["expected true or false for `management`"]);
}
