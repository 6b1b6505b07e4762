//! Node definitions: what a controller gives a node by default, and how such a device behaves when it runs.

use serde::Serialize;

/// What a node is made of. Connectors and switches are parts of the controller: they have no CPU and no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    Machine,
    ExternalConnector,
    UnmanagedSwitch,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeDefinition {
    pub(crate) id: &'static str,
    pub(crate) nature: &'static str,
    pub(crate) description: &'static str,
    pub(crate) making: Making,
    pub(crate) image: &'static str,
    /// MB.
    pub(crate) ram: u64,
    pub(crate) cpus: u64,
    /// Percent of each vCPU.
    pub(crate) cpu_limit: u64,
    /// GB.
    pub(crate) boot_disk_size: Option<u64>,
    pub(crate) serial_ports: u64,
    pub(crate) vnc: bool,
    pub(crate) loopback: bool,
    pub(crate) interfaces: u64,
    pub(crate) boot_seconds: f64,
    /// Percent of one core while it boots, and once it has settled.
    pub(crate) boot_load: f64,
    pub(crate) steady_load: f64,
    /// Share of its RAM that it holds once it has settled.
    pub(crate) memory_share: f64,
    /// MB read from the disk to boot; MB the disk holds; bytes written per second later on.
    pub(crate) boot_read: u64,
    pub(crate) disk: u64,
    pub(crate) write_rate: u64,
    /// It asks for an address by DHCP where it reaches the outside.
    pub(crate) asks_for_address: bool,
}

const MACHINE: NodeDefinition = NodeDefinition {
    id: "",
    nature: "server",
    description: "",
    making: Making::Machine,
    image: "",
    ram: 512,
    cpus: 1,
    cpu_limit: 100,
    boot_disk_size: None,
    serial_ports: 1,
    vnc: false,
    loopback: false,
    interfaces: 4,
    boot_seconds: 60.0,
    boot_load: 90.0,
    steady_load: 1.0,
    memory_share: 0.5,
    boot_read: 120,
    disk: 300,
    write_rate: 400,
    asks_for_address: false,
};

/// For unknown definitions: such a node runs, and the list of definitions does not name it.
pub(crate) const UNKNOWN: NodeDefinition = MACHINE;

#[rustfmt::skip]
pub(crate) const DEFINITIONS: &[NodeDefinition] = &[
    NodeDefinition { id: "alpine", description: "Alpine Linux", image: "alpine-base-3-21-3", interfaces: 1, boot_seconds: 22.0, boot_load: 60.0, steady_load: 0.4, memory_share: 0.28, boot_read: 44, disk: 210, asks_for_address: true, ..MACHINE },
    NodeDefinition { id: "asav", nature: "firewall", description: "ASAv", image: "asav-9-22-1-1", ram: 2048, boot_disk_size: None, interfaces: 3, boot_seconds: 120.0, boot_load: 100.0, steady_load: 12.0, memory_share: 0.71, boot_read: 410, disk: 620, ..MACHINE },
    NodeDefinition { id: "cat8000v", nature: "router", description: "Catalyst 8000V", image: "cat8000v-17-16-01a", ram: 4096, serial_ports: 2, loopback: true, boot_seconds: 240.0, boot_load: 100.0, steady_load: 34.0, memory_share: 0.83, boot_read: 1_650, disk: 2_400, write_rate: 9_000, ..MACHINE },
    NodeDefinition { id: "cat9000v-uadp", nature: "switch", description: "Catalyst 9000v (UADP)", image: "cat9kv-prd-17.15.01", ram: 18_432, cpus: 4, serial_ports: 2, interfaces: 9, boot_seconds: 540.0, boot_load: 310.0, steady_load: 118.0, memory_share: 0.62, boot_read: 2_900, disk: 3_900, write_rate: 12_000, ..MACHINE },
    NodeDefinition { id: "csr1000v", nature: "router", description: "CSR 1000v", image: "csr1000v-17-03-08a", ram: 3072, serial_ports: 2, loopback: true, boot_seconds: 150.0, boot_load: 100.0, steady_load: 99.8, memory_share: 0.79, boot_read: 760, disk: 1_500, write_rate: 6_000, ..MACHINE },
    NodeDefinition { id: "desktop", description: "Alpine Linux with a desktop", image: "alpine-desktop-3-21-3", vnc: true, interfaces: 1, boot_seconds: 48.0, boot_load: 95.0, steady_load: 3.5, memory_share: 0.66, boot_read: 310, disk: 1_100, write_rate: 2_500, asks_for_address: true, ..MACHINE },
    NodeDefinition { id: "external_connector", nature: "external_connector", description: "Connection to the outside", making: Making::ExternalConnector, ram: 0, cpus: 0, cpu_limit: 0, serial_ports: 0, interfaces: 1, boot_seconds: 0.0, ..MACHINE },
    NodeDefinition { id: "iol-xe", nature: "router", description: "IOL XE", image: "iol-xe-17-15-01", ram: 768, loopback: true, boot_seconds: 18.0, boot_load: 80.0, steady_load: 0.9, memory_share: 0.52, boot_read: 210, disk: 240, ..MACHINE },
    NodeDefinition { id: "ioll2-xe", nature: "switch", description: "IOL L2 XE", image: "ioll2-xe-17-15-01", ram: 768, loopback: true, boot_seconds: 18.0, boot_load: 80.0, steady_load: 1.2, memory_share: 0.53, boot_read: 215, disk: 245, ..MACHINE },
    NodeDefinition { id: "iosv", nature: "router", description: "IOSv", image: "iosv-159-3-m9", ram: 768, serial_ports: 2, loopback: true, boot_seconds: 150.0, boot_load: 98.0, steady_load: 1.7, memory_share: 0.58, boot_read: 292, disk: 130, write_rate: 1, ..MACHINE },
    NodeDefinition { id: "iosvl2", nature: "switch", description: "IOSvL2", image: "iosvl2-2020", ram: 768, serial_ports: 2, loopback: true, boot_seconds: 170.0, boot_load: 99.0, steady_load: 2.8, memory_share: 0.61, boot_read: 469, disk: 140, write_rate: 1, ..MACHINE },
    NodeDefinition { id: "iosxrv", nature: "router", description: "IOS XRv", image: "iosxrv-6-3-1", ram: 3072, serial_ports: 3, loopback: true, boot_seconds: 260.0, boot_load: 100.0, steady_load: 6.0, memory_share: 0.68, boot_read: 900, disk: 2_000, write_rate: 3_000, ..MACHINE },
    NodeDefinition { id: "iosxrv9000", nature: "router", description: "IOS XRv 9000", image: "iosxrv9000-24-3-1", ram: 20_480, cpus: 4, serial_ports: 4, loopback: true, boot_seconds: 600.0, boot_load: 380.0, steady_load: 204.0, memory_share: 0.74, boot_read: 3_600, disk: 6_100, write_rate: 15_000, ..MACHINE },
    NodeDefinition { id: "nxosv9000", nature: "switch", description: "NX-OS 9000v", image: "nxosv9500-10-5-1", ram: 12_288, cpus: 4, interfaces: 9, loopback: true, boot_seconds: 420.0, boot_load: 350.0, steady_load: 41.0, memory_share: 0.57, boot_read: 2_100, disk: 3_300, write_rate: 8_000, ..MACHINE },
    NodeDefinition { id: "server", description: "Tiny Core Linux", image: "tcl-16-0", ram: 128, interfaces: 1, boot_seconds: 14.0, boot_load: 45.0, steady_load: 0.2, memory_share: 0.41, boot_read: 18, disk: 24, write_rate: 1, asks_for_address: true, ..MACHINE },
    NodeDefinition { id: "ubuntu", description: "Ubuntu", image: "ubuntu-24-04-20250503", ram: 2048, boot_disk_size: Some(16), interfaces: 1, boot_seconds: 110.0, boot_load: 100.0, steady_load: 0.6, memory_share: 0.34, boot_read: 302, disk: 2_050, write_rate: 21_000, asks_for_address: true, ..MACHINE },
    NodeDefinition { id: "unmanaged_switch", nature: "switch", description: "Unmanaged switch", making: Making::UnmanagedSwitch, ram: 0, cpus: 0, cpu_limit: 0, serial_ports: 0, interfaces: 8, boot_seconds: 0.0, ..MACHINE },
];

/// The definition of that name, or the substitute for unknown ones.
pub(crate) fn definition(id: &str) -> &'static NodeDefinition {
    DEFINITIONS.iter().find(|definition| definition.id == id).unwrap_or(&UNKNOWN)
}

pub(crate) fn is_known(id: &str) -> bool {
    DEFINITIONS.iter().any(|definition| definition.id == id)
}

impl NodeDefinition {
    pub(crate) fn is_machine(&self) -> bool {
        self.making == Making::Machine
    }

    /// An element of `GET simplified_node_definitions`.
    pub(crate) fn simplified(&self) -> impl Serialize + use<> {
        let machine = self.is_machine();
        SimplifiedDefinition {
            id: self.id,
            general: General { nature: self.nature, description: self.description, read_only: true },
            device: Device {
                interfaces: DeviceInterfaces {
                    serial_ports: self.serial_ports,
                    default_console: None,
                    has_loopback_zero: self.loopback,
                    min_count: None,
                    default_count: self.interfaces,
                    iol_static_ethernets: None,
                },
            },
            ui: Interface { label: self.description, label_prefix: self.id, icon: self.nature, visible: true },
            sim: Simulation {
                ram: machine.then_some(self.ram),
                cpus: machine.then_some(self.cpus),
                cpu_limit: machine.then_some(self.cpu_limit),
                data_volume: machine.then_some(0),
                boot_disk_size: machine.then_some(self.boot_disk_size.unwrap_or(0)),
                console: self.serial_ports > 0,
                simulate: machine,
                vnc: self.vnc,
            },
            image_definitions: if machine { vec![self.image] } else { Vec::new() },
        }
    }
}

#[derive(Serialize)]
struct SimplifiedDefinition {
    id: &'static str,
    general: General,
    device: Device,
    ui: Interface,
    sim: Simulation,
    image_definitions: Vec<&'static str>,
}

#[derive(Serialize)]
struct General {
    nature: &'static str,
    description: &'static str,
    read_only: bool,
}

#[derive(Serialize)]
struct Device {
    interfaces: DeviceInterfaces,
}

#[derive(Serialize)]
struct DeviceInterfaces {
    serial_ports: u64,
    default_console: Option<u64>,
    has_loopback_zero: bool,
    min_count: Option<u64>,
    default_count: u64,
    iol_static_ethernets: Option<u64>,
}

#[derive(Serialize)]
struct Interface {
    label: &'static str,
    label_prefix: &'static str,
    icon: &'static str,
    visible: bool,
}

#[derive(Serialize)]
struct Simulation {
    ram: Option<u64>,
    cpus: Option<u64>,
    cpu_limit: Option<u64>,
    data_volume: Option<u64>,
    boot_disk_size: Option<u64>,
    console: bool,
    simulate: bool,
    vnc: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_listed_once_and_in_order() {
        let ids: Vec<_> = DEFINITIONS.iter().map(|definition| definition.id).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
    }

    #[test]
    fn a_connector_has_no_cpu_and_no_memory() {
        let answer = serde_json::to_value(definition("external_connector").simplified()).unwrap();
        assert!(answer["sim"]["ram"].is_null());
        assert!(answer["sim"]["cpus"].is_null());
    }
}
