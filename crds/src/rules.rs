//! The rules in CEL that the API server holds our objects to, and what it says when one is broken.
//!
//! A quantity may be a string or a number, so rules look at its text (`string(self)`). Rules that calculate with one
//! hold for texts that are none: another rule refuses those, and says why.

/// The text of a whole number of bytes above 0. Not all that Kubernetes takes for a quantity: its own functions cannot
/// say whether `1.5Gi` is a whole number (they know it only for texts without a fraction).
macro_rules! is_bytes {
    ($field:literal) => {
        concat!("string(", $field, ").matches('^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$')")
    };
}

macro_rules! quantity {
    ($field:literal) => {
        concat!("quantity(string(", $field, "))")
    };
}

/// Few enough digits that every such text is a number that CEL's integers hold.
macro_rules! may_be_page_size {
    ($field:literal) => {
        concat!("string(", $field, ").matches('^[1-9][0-9]{0,6}(Ki|Mi|k|M)?$')")
    };
}

/// A DNS label. Its length is bounded by the schema.
macro_rules! label {
    () => {
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
    };
}

pub(crate) const STAYS: &str = "self == oldSelf";

pub(crate) const LABEL: &str = concat!("self.matches('", label!(), "')");

pub(crate) const SUBDOMAIN: &str =
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";
pub(crate) const SERVICE_ACCOUNT_MESSAGE: &str = "is not the name of a service account; write at most 253 lower-case \
     letters, digits, `-` and `.`, with a letter or digit at both ends of each part";

pub(crate) const NAME_IS_LABEL: &str = "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')";
pub(crate) const NAME_IS_LABEL_MESSAGE: &str =
    "metadata.name has a dot or more than 63 characters; write at most 63 lower-case letters, digits and `-`";

pub(crate) const POOL_NAME: &str = "self.metadata.name.size() <= 48 && !self.metadata.name.contains('.')";
pub(crate) const POOL_NAME_IS_LABEL_MESSAGE: &str = "metadata.name has a dot or more than 48 characters; write at most 48 \
     lower-case letters, digits and `-`, since `pagemesh-agent-` and the name name the pool's DaemonSet and Service";

pub(crate) const POOL_NAME_MESSAGE: &str = "is not the name of an AgentPool; write at most 48 lower-case letters, digits \
     and `-`, with a letter or digit at both ends";
pub(crate) const CLASS_NAME_MESSAGE: &str = "is not the name of a RegionClass; write at most 63 lower-case letters, digits \
     and `-`, with a letter or digit at both ends";
pub(crate) const REGION_NAME_MESSAGE: &str = "is not the name of a Region; write at most 63 lower-case letters, digits and \
     `-`, with a letter or digit at both ends";
pub(crate) const NAMESPACE_MESSAGE: &str = "is not the name of a namespace; write at most 63 lower-case letters, digits \
     and `-`, with a letter or digit at both ends";

pub(crate) const BYTES: &str = is_bytes!("self");
pub(crate) const BYTES_MESSAGE: &str = "is not a whole number of bytes above 0; write one with Ki, Mi, Gi or Ti, such as \
     64Mi, and 1536Mi for 1.5Gi";
pub(crate) const BYTES_AT_MOST_16TI: &str =
    concat!(is_bytes!("self"), " ? ", quantity!("self"), ".compareTo(quantity('16Ti')) <= 0 : true");
pub(crate) const BYTES_AT_MOST_16TI_MESSAGE: &str = "is more than 16Ti; write 16Ti or less";
pub(crate) const BYTES_GROW: &str = concat!(
    is_bytes!("self"),
    " && ",
    is_bytes!("oldSelf"),
    " ? ",
    quantity!("self"),
    ".compareTo(",
    quantity!("oldSelf"),
    ") >= 0 : true"
);
pub(crate) const BYTES_GROW_MESSAGE: &str =
    "is less than before; a region never shrinks: write the size that it has, or more";

pub(crate) const PAGE_SIZE: &str = concat!(
    may_be_page_size!("self"),
    " && ",
    quantity!("self"),
    ".asInteger() in [4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152]"
);
pub(crate) const PAGE_SIZE_MESSAGE: &str = "is not a power of two from 4Ki to 2Mi; write 4Ki, 8Ki, 16Ki, 32Ki, 64Ki, \
     128Ki, 256Ki, 512Ki, 1Mi or 2Mi";
pub(crate) const PAGE_SIZE_STAYS: &str = concat!(
    is_bytes!("self"),
    " && ",
    is_bytes!("oldSelf"),
    " ? ",
    quantity!("self"),
    ".compareTo(",
    quantity!("oldSelf"),
    ") == 0 : true"
);
pub(crate) const PAGE_SIZE_STAYS_MESSAGE: &str =
    "cannot change; write what it was, or make another Region with the page size that you want";

/// Every size up to 16Ti that is written without a fraction is one of CEL's integers.
pub(crate) const SIZE_IN_PAGES: &str = concat!(
    is_bytes!("self.size"),
    " && ",
    quantity!("self.size"),
    ".compareTo(quantity('16Ti')) <= 0 && ",
    may_be_page_size!("self.pageSize"),
    " ? ",
    quantity!("self.size"),
    ".asInteger() % ",
    quantity!("self.pageSize"),
    ".asInteger() == 0 : true"
);
pub(crate) const SIZE_IN_PAGES_MESSAGE: &str = "size is not a multiple of pageSize; write one that is, such as 64Mi, which is a multiple of all page sizes";

pub(crate) const CONSISTENCY_STAYS_MESSAGE: &str =
    "cannot change; write what it was, or make another Region with the consistency that you want";

pub(crate) const CLASS_STAYS: &str = "has(self.regionClassName) == has(oldSelf.regionClassName) && \
     (!has(self.regionClassName) || self.regionClassName == oldSelf.regionClassName)";
pub(crate) const CLASS_STAYS_MESSAGE: &str = "regionClassName cannot be added, changed or removed; write what it was, or \
     make another Region of the class that you want";

pub(crate) const ID_STAYS: &str = "has(oldSelf.id) ? has(self.id) && self.id == oldSelf.id : true";
pub(crate) const ID_STAYS_MESSAGE: &str =
    "id cannot change or be removed; write what it was, or delete the Agent, and it comes back with another";

/// Names joined by `/`, none of them `.` or `..` or hidden.
pub(crate) const PATH: &str =
    "self.matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,62}(/[a-zA-Z0-9_][a-zA-Z0-9._-]{0,62})*$')";
pub(crate) const PATH_MESSAGE: &str = "is not a path; write names joined by `/`, such as models/weights, each of at most 63 \
     letters, digits, `_`, `-` and `.`, with a letter, digit or `_` first";

/// `namespace` is a reserved word of CEL, which Kubernetes has escaped so.
pub(crate) const ONE_TARGET: &str = "has(self.__namespace__) != has(self.delegate)";
pub(crate) const ONE_TARGET_MESSAGE: &str = "a context is delegated to one place; write either namespace, for one of this \
     cluster, or delegate, for another name server";

/// A DNS name, an IPv4 address or an IPv6 address in brackets, and a port.
pub(crate) const ADDRESS: &str = "self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*|\\\\[[0-9a-fA-F:.]{2,45}\\\\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$')";
pub(crate) const ADDRESS_MESSAGE: &str = "is not the address of a name server; write a DNS name or an IP address and a port, \
     such as names.example.com:7410, 10.0.0.1:7410 or [fd00::1]:7410";

pub(crate) const SURGE_OR_UNAVAILABLE: &str = "!has(self.maxSurge) || !has(self.maxUnavailable)";
pub(crate) const SURGE_OR_UNAVAILABLE_MESSAGE: &str =
    "maxSurge and maxUnavailable exclude each other; write one of them";

pub(crate) const NO_SURGE_ON_HOST_NETWORK: &str = "!(has(self.hostNetwork) && self.hostNetwork && has(self.updateStrategy) && has(self.updateStrategy.maxSurge))";
pub(crate) const NO_SURGE_ON_HOST_NETWORK_MESSAGE: &str =
    "two agents cannot have one port of a node's network; with hostNetwork, write maxUnavailable";

pub(crate) const NO_MOUNT_IN_CONTEXT: &str = "has(self.mounts) && has(self.contexts) ? self.mounts.all(m, \
     !self.contexts.exists(c, m.path == c.path || m.path.startsWith(c.path + '/'))) : true";
pub(crate) const NO_MOUNT_IN_CONTEXT_MESSAGE: &str = "a mount lies in a delegated context; write it into a MountTable of \
     the namespace that the context is delegated to, or mount it elsewhere";
pub(crate) const NO_MOUNT_IN_MOUNT: &str = "has(self.mounts) ? self.mounts.all(m, !self.mounts.exists(other, \
     m.path.startsWith(other.path + '/'))) : true";
pub(crate) const NO_MOUNT_IN_MOUNT_MESSAGE: &str =
    "a mount lies below another mount, and nothing is below a region; write another path for one of the two";
pub(crate) const NO_CONTEXT_IN_MOUNT: &str = "has(self.mounts) && has(self.contexts) ? self.contexts.all(c, \
     !self.mounts.exists(m, c.path.startsWith(m.path + '/'))) : true";
pub(crate) const NO_CONTEXT_IN_MOUNT_MESSAGE: &str =
    "a context lies below a mount, and nothing is below a region; write another path for one of the two";
pub(crate) const NO_CONTEXT_IN_CONTEXT: &str = "has(self.contexts) ? self.contexts.all(c, \
     !self.contexts.exists(other, c.path.startsWith(other.path + '/'))) : true";
pub(crate) const NO_CONTEXT_IN_CONTEXT_MESSAGE: &str = "a context lies in another one, which is described elsewhere; \
     write it into a MountTable of the namespace that the outer one is delegated to";

pub(crate) const HOMES_WITHIN_LIMIT: &str = "has(self.defaults.homes) && has(self.limits.homes) ? self.defaults.homes <= \
     self.limits.homes : true";
pub(crate) const HOMES_WITHIN_LIMIT_MESSAGE: &str =
    "defaults.homes is more than limits.homes; write a default within the limit";

pub(crate) const IMAGE: &str = "self.matches('^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$')";
pub(crate) const IMAGE_MESSAGE: &str =
    "is not a reference of an image; write one such as registry.example.com/pagemesh/agent:0.1.0";

pub(crate) const SELECTOR_KEYS: &str = "self.all(key, key.size() > 0 && key.size() <= 317)";
pub(crate) const SELECTOR_KEYS_MESSAGE: &str =
    "has a key that is no label's; write keys of 1 to 317 characters, such as topology.kubernetes.io/zone";
pub(crate) const LABEL_VALUE: &str = "self.matches('^([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?)?$')";
pub(crate) const LABEL_VALUE_MESSAGE: &str = "is not a label's value; write at most 63 letters, digits, `-`, `_` and `.`, \
     with a letter or digit at both ends";

/// That the request of a resource, under its name in CEL, is within its limit.
pub(crate) fn request_within_limit(name: &str) -> String {
    let (request, limit) = (format!("self.requests.{name}"), format!("self.limits.{name}"));
    format!(
        "has(self.requests) && has(self.limits) && has({request}) && has({limit}) && isQuantity(string({request})) && \
         isQuantity(string({limit})) ? quantity(string({request})).compareTo(quantity(string({limit}))) <= 0 : true"
    )
}

pub(crate) const TOLERATION_OF_ALL: &str =
    "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')";
pub(crate) const TOLERATION_OF_ALL_MESSAGE: &str =
    "a toleration without a key tolerates all taints; write a key, or `operator: Exists`";
pub(crate) const TOLERATION_EXISTS: &str =
    "has(self.operator) && self.operator == 'Exists' ? !has(self.value) || self.value == '' : true";
pub(crate) const TOLERATION_EXISTS_MESSAGE: &str =
    "`operator: Exists` looks at no value; leave the value out, or write `operator: Equal`";
pub(crate) const TOLERATION_SECONDS: &str =
    "has(self.tolerationSeconds) ? has(self.effect) && self.effect == 'NoExecute' : true";
pub(crate) const TOLERATION_SECONDS_MESSAGE: &str =
    "tolerationSeconds is for `effect: NoExecute` alone; write that effect, or leave the seconds out";
