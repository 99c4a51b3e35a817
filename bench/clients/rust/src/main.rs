//! fe2o3-amqp: the same command line and answer as the programs in ../python; see task.py there.

use std::error::Error;
use std::time::Instant;

use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::types::messaging::{Data, Message, MessageId};
use fe2o3_amqp::types::primitives::{Binary, SimpleValue};
use fe2o3_amqp::{Connection, Delivery, Receiver, Sender, Session};
use tokio::net::TcpStream;

const CREDIT: u32 = 1000;
const VERSION: &str = "0.18.4"; // as Cargo.toml has it

type Failure = Box<dyn Error>;

struct Task {
    operation: String,
    host: String,
    port: u16,
    address: String,
    count: usize,
    size: usize,
    ca_file: Option<String>,
}

fn finish(begun: Instant, tally: usize) {
    println!("{:.6} {}", begun.elapsed().as_secs_f64(), tally);
}

fn message(body: &[u8]) -> Message<Data> {
    Message::builder().data(Binary::from(body)).build()
}

async fn send(mut sender: Sender, task: &Task) -> Result<(), Failure> {
    let body = vec![b'x'; task.size];
    let (futures, mut to_wait_for) = tokio::sync::mpsc::channel(CREDIT as usize);
    let begun = Instant::now();
    let waiting = tokio::task::spawn_local(async move {
        let mut accepted = 0;
        while let Some(outcome) = to_wait_for.recv().await {
            accepted += outcome_is_accepted(outcome).await;
        }
        accepted
    });
    for _ in 0..task.count {
        futures.send(sender.send_batchable(message(&body)).await?).await?;
    }
    drop(futures);
    finish(begun, waiting.await?);
    sender.close().await?;
    Ok(())
}

async fn outcome_is_accepted(
    outcome: fe2o3_amqp::link::delivery::DeliveryFut<
        Result<fe2o3_amqp::types::messaging::Outcome, fe2o3_amqp::link::SendError>,
    >,
) -> usize {
    matches!(outcome.await, Ok(outcome) if outcome.is_accepted()) as usize
}

async fn send_one(mut sender: Sender, task: &Task) -> Result<(), Failure> {
    let body = vec![b'x'; task.size];
    let mut accepted = 0;
    let begun = Instant::now();
    for _ in 0..task.count {
        accepted += sender.send(message(&body)).await?.is_accepted() as usize;
    }
    finish(begun, accepted);
    sender.close().await?;
    Ok(())
}

struct Rich {
    texts: [String; 6],
    created: i64,
    region: String,
    quantity: i32,
    express: bool,
}

fn read_rich(delivery: &Delivery<Data>) -> Option<Rich> {
    let message = delivery.message();
    let properties = message.properties.as_ref()?;
    let application = message.application_properties.as_ref()?;
    let id = |id: &Option<MessageId>| match id {
        Some(MessageId::String(text)) => Some(text.clone()),
        _ => None,
    };
    let texts = [
        id(&properties.message_id)?,
        properties.to.as_ref()?.to_string(),
        properties.subject.as_ref()?.to_string(),
        properties.reply_to.as_ref()?.to_string(),
        id(&properties.correlation_id)?,
        properties.content_type.as_ref()?.to_string(),
    ];
    match (
        application.get("region")?,
        application.get("quantity")?,
        application.get("express")?,
    ) {
        (SimpleValue::String(region), SimpleValue::Int(quantity), SimpleValue::Bool(express)) => Some(Rich {
            texts,
            created: properties.creation_time.as_ref()?.milliseconds(),
            region: region.clone(),
            quantity: *quantity,
            express: *express,
        }),
        _ => None,
    }
}

fn rich_tally(rich: &Rich) -> usize {
    let texts: usize = rich.texts.iter().map(String::len).sum();
    texts + (rich.created / 1_000_000_000) as usize + rich.region.len() + rich.quantity as usize + rich.express as usize
}

async fn receive(session: &mut fe2o3_amqp::session::SessionHandle<()>, task: &Task, rich: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut receiver = Receiver::builder()
        .name("bench")
        .source(task.address.as_str())
        .credit_mode(CreditMode::Auto(CREDIT.min(task.count as u32)))
        .attach(session)
        .await?;
    let mut size = 0;
    let mut seen = None;
    for _ in 0..task.count {
        let delivery = receiver.recv::<Data>().await?;
        size = delivery.body().0.len();
        if rich {
            seen = Some(read_rich(&delivery).ok_or("not a rich message")?);
        }
        receiver.accept(&delivery).await?;
    }
    finish(begun, size + seen.as_ref().map_or(0, rich_tally));
    Ok(())
}

async fn run(task: Task) -> Result<(), Failure> {
    let stream = TcpStream::connect((task.host.as_str(), task.port)).await?;
    stream.set_nodelay(true)?; // which it does not do by itself: its dispositions would wait for acknowledgements
    let builder = Connection::builder()
        .container_id("bench")
        .scheme("amqp")
        .hostname(task.host.as_str());
    let mut connection = match &task.ca_file {
        None => builder.open_with_stream(stream).await?,
        Some(ca_file) => {
            let authority = native_tls::Certificate::from_pem(&std::fs::read(ca_file)?)?;
            let connector = native_tls::TlsConnector::builder()
                .add_root_certificate(authority)
                .build()?;
            let connector = tokio_native_tls::TlsConnector::from(connector);
            builder
                .open_with_stream(connector.connect(&task.host, stream).await?)
                .await?
        }
    };
    let mut session = Session::begin(&mut connection).await?;
    let address = task.address.as_str();
    match task.operation.as_str() {
        "send" => send(Sender::attach(&mut session, "bench", address).await?, &task).await?,
        "send-one" => send_one(Sender::attach(&mut session, "bench", address).await?, &task).await?,
        "receive" => receive(&mut session, &task, false).await?,
        "receive-rich" => receive(&mut session, &task, true).await?,
        other => return Err(format!("there is no operation {other}").into()),
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["version"] {
        println!("{VERSION}");
        return Ok(());
    }
    let [operation, url, count, size, ca_file @ ..] = arguments.as_slice() else {
        return Err("usage: bench OPERATION URL COUNT SIZE [CA]".into());
    };
    let (_, place) = url.split_once("://").ok_or("no scheme in the URL")?;
    let (server, address) = place.split_once('/').ok_or("no address in the URL")?;
    let (host, port) = server.rsplit_once(':').ok_or("no port in the URL")?;
    let task = Task {
        operation: operation.clone(),
        host: host.into(),
        port: port.parse()?,
        address: address.into(),
        count: count.parse()?,
        size: size.parse()?,
        ca_file: ca_file.first().cloned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(task))
}
