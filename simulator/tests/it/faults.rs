use std::time::Instant;

use reqwest::{Method, StatusCode};
use simulator::{Fault, FaultKind, SimulatorOptions};

use crate::client::{Controller, Reply, options};

async fn labs(controller: &Controller) -> Result<Reply, reqwest::Error> {
    controller.try_call(Method::GET, "/api/v0/labs", None).await
}

#[tokio::test]
async fn every_kind_of_fault_strikes_and_ends() {
    let mut controller = Controller::start().await;

    controller.simulator.fault(Fault::new(FaultKind::Status { code: 500 }).on_path("/labs")).unwrap();
    let reply = labs(&controller).await.unwrap();
    assert_eq!((reply.status, &reply.json()["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &500.into()));
    assert_eq!(controller.get("/authok").await, "OK");

    controller.simulator.clear_faults();
    controller.simulator.fault(Fault::new(FaultKind::InvalidBody)).unwrap();
    let reply = labs(&controller).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    serde_json::from_str::<serde_json::Value>(&reply.text).unwrap_err();

    controller.simulator.clear_faults();
    controller.simulator.fault(Fault::new(FaultKind::Truncate)).unwrap();
    let reply = labs(&controller).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    serde_json::from_str::<serde_json::Value>(&reply.text).unwrap_err();

    controller.simulator.clear_faults();
    controller.simulator.fault(Fault::new(FaultKind::Booting)).unwrap();
    let reply = controller.call(Method::GET, "/api/v0/system_information", None).await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);

    controller.simulator.clear_faults();
    controller.simulator.fault(Fault::new(FaultKind::Slow { milliseconds: 150 }).times(1)).unwrap();
    let asked = Instant::now();
    labs(&controller).await.unwrap();
    assert!(asked.elapsed().as_millis() >= 150);

    controller.simulator.fault(Fault::new(FaultKind::RefusePassword)).unwrap();
    let reply = controller.call(Method::POST, "/api/v0/authenticate", Some("{}".into())).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    controller.simulator.clear_faults();
    controller.sign_in().await;
}

#[tokio::test]
async fn a_dropped_connection_gives_no_answer_with_and_without_tls() {
    for tls in [true, false] {
        let controller = Controller::with(SimulatorOptions { tls, ..options() }).await;
        // A client repeats a request by itself when a kept connection turns out to be closed: so each time.
        controller.simulator.fault(Fault::new(FaultKind::DropConnection)).unwrap();
        assert!(controller.try_call(Method::GET, "/api/v0/labs", None).await.is_err());
        controller.simulator.clear_faults();
        assert_eq!(controller.get("/authok").await, "OK");
    }
}
