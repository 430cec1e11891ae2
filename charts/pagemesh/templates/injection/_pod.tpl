{{/* A value as CEL: call with the value. Lists and maps of CEL have one type of element, which dyn() is. */}}
{{- define "pagemesh.cel" -}}
{{- if kindIs "map" . -}}
{
{{- $comma := "" -}}
{{- range $key, $value := . }}{{ $comma }}{{ $key | toJson }}: dyn({{ include "pagemesh.cel" $value }}){{ $comma = ", " }}{{ end -}}
}
{{- else if kindIs "slice" . -}}
[
{{- $comma := "" -}}
{{- range . }}{{ $comma }}dyn({{ include "pagemesh.cel" . }}){{ $comma = ", " }}{{ end -}}
]
{{- else if kindIs "float64" . -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* The keeper's container. */}}
{{- define "pagemesh.keeper" -}}
{{- $keeper := .Values.injection.keeper -}}
{{- $more := dict "image" (include "pagemesh.image" (list . $keeper.image)) "imagePullPolicy" $keeper.image.pullPolicy -}}
{{- $_ := set $more "resources" $keeper.resources -}}
{{- merge $more (.Files.Get "files/keeper.yaml" | fromYaml) | toYaml -}}
{{- end }}

{{/* Which pods both policies look at. */}}
{{- define "pagemesh.injection.match" -}}
matchConstraints:
  # Nothing of ours is in the way of the cluster's own pods, nor of the agents.
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values: {{ uniq (list "kube-system" .Release.Namespace) | toJson }}
  {{- if .Values.injection.requireLabel }}
  objectSelector:
    matchExpressions:
      - {key: pagemesh.io/attach, operator: Exists}
  {{- end }}
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
      operations: [CREATE]
matchConditions:
  - name: asks-to-be-attached
    expression: >-
      has(object.metadata.annotations) && ("pagemesh.io/attach" in object.metadata.annotations
      || "pagemesh.io/mount-table" in object.metadata.annotations)
  # What stands for a pod that a kubelet has from a file must be as that pod is.
  - name: is-no-mirror
    expression: >-
      !("kubernetes.io/config.mirror" in object.metadata.annotations)
{{- end }}

{{/*
What both policies know of a pod. `problem` is a sentence, or empty. The order of what is looked at, and the words, are those of
cli/src/inject: a test on a cluster holds them together.
*/}}
{{- define "pagemesh.injection.variables" -}}
variables:
  - name: asksForRegions
    expression: >-
      "pagemesh.io/attach" in object.metadata.annotations
  - name: attach
    expression: >-
      object.metadata.annotations[?"pagemesh.io/attach"].orValue("")
  - name: asksForTable
    expression: >-
      "pagemesh.io/mount-table" in object.metadata.annotations
  - name: table
    expression: >-
      object.metadata.annotations[?"pagemesh.io/mount-table"].orValue("")
  - name: containersText
    expression: >-
      object.metadata.annotations[?"pagemesh.io/containers"].orValue("")
  # How much is looked at is limited first: the API server does this work for whoever may create pods.
  - name: entries
    expression: >-
      !variables.asksForRegions || size(variables.attach) > 8192 ? [] : variables.attach.split(",")
  - name: someEntries
    expression: >-
      size(variables.entries) > 32 ? [] : variables.entries
  - name: regions
    expression: >-
      variables.someEntries.map(entry, entry.trim())
  - name: notRegions
    expression: >-
      variables.someEntries.filter(entry, !entry.matches(
      r"^\s*([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:ro)?\s*$"))
      .map(entry, entry.find(r"(?s)\S(.*\S)?"))
  # What the volume says of it.
  - name: regionsText
    expression: >-
      variables.regions.join(",")
  - name: names
    expression: >-
      variables.regions.map(region, region.endsWith(":ro") ? region.substring(0, size(region) - 3) : region)
  - name: wholeNames
    expression: >-
      variables.names.map(name, name.contains("/") ? name : request.namespace + "/" + name)
  - name: twice
    expression: >-
      variables.names.filter(name, variables.wholeNames.filter(other,
      other == (name.contains("/") ? name : request.namespace + "/" + name)).size() > 1)
  - name: volumes
    expression: >-
      object.spec.?volumes.orValue([])
  - name: initContainers
    expression: >-
      object.spec.?initContainers.orValue([])
  - name: all
    expression: >-
      (object.spec.containers + variables.initContainers).filter(container, container.name != "pagemesh-keeper")
  - name: allNames
    expression: >-
      variables.all.map(container, container.name)
  - name: isSaidWhich
    expression: >-
      "pagemesh.io/containers" in object.metadata.annotations
  - name: which
    expression: >-
      !variables.isSaidWhich || size(variables.containersText) > 8192 ? []
      : variables.containersText.split(",").map(name, name.trim())
  - name: notContainers
    expression: >-
      size(variables.which) > size(variables.all) ? [] : variables.which.filter(name, !(name in variables.allNames))
  - name: chosenNames
    expression: >-
      variables.isSaidWhich ? variables.which : variables.allNames
  - name: chosen
    expression: >-
      variables.all.filter(container, container.name in variables.chosenNames)
  - name: covered
    expression: >-
      variables.chosen.map(container, container.?volumeMounts.orValue([]).filter(mount, mount.name != "pagemesh"
      && (mount.mountPath + "/").startsWith("/run/pagemesh/")).map(mount,
      "the container " + container.name + " mounts " + mount.name + " at " + mount.mountPath.trim()
      + ", where pagemesh's volume goes; mount it elsewhere"))
      .filter(found, found != [])
  - name: badVariables
    expression: >-
      variables.chosen.map(container, container.?env.orValue([]).filter(variable,
      variable.name == "LD_PRELOAD" || variable.name == "PAGEMESH_SOCKET").map(ours, [
      ours.name == "LD_PRELOAD" && has(ours.valueFrom)
      ? "the container " + container.name
      + " takes LD_PRELOAD from elsewhere (valueFrom), and pagemesh must add to it; write its value instead"
      : ours.name == "PAGEMESH_SOCKET" && ours.?value.orValue("") != "/run/pagemesh/agent.sock"
      ? "the container " + container.name + " sets PAGEMESH_SOCKET, which pagemesh sets; remove it"
      : container.env.filter(variable, variable.name == ours.name).size() > 1
      ? "the container " + container.name + " sets " + ours.name + " more than once; set it once"
      : ""]).filter(found, found != [""]))
      .filter(found, found != [])
  - name: problem
    expression: >-
      size(variables.attach) > 8192
      ? "the annotation pagemesh.io/attach has more than 8192 characters; name fewer regions"
      : size(variables.entries) > 32
      ? "the annotation pagemesh.io/attach names " + string(size(variables.entries)) + " regions; a pod attaches to at most 32"
      : variables.notRegions != []
      ? "the annotation pagemesh.io/attach has " + strings.quote(variables.notRegions[0].substring(0,
      size(variables.notRegions[0]) > 64 ? 64 : size(variables.notRegions[0])))
      + (size(variables.notRegions[0]) > 64 ? "..." : "")
      + ", which is not a region; write [NAMESPACE/]NAME[:ro], such as table or other/weights:ro, with commas between"
      : variables.twice != []
      ? "the annotation pagemesh.io/attach names " + variables.twice[0]
      + " more than once; name each region once, with :ro or without"
      : variables.asksForTable && (size(variables.table) > 63 || !variables.table.matches(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))
      ? "the annotation pagemesh.io/mount-table has " + strings.quote(variables.table.substring(0,
      size(variables.table) > 64 ? 64 : size(variables.table)))
      + (size(variables.table) > 64 ? "..." : "")
      + ", which is no name of a MountTable; write that of one of the pod's namespace, such as main"
      : object.spec.?os.?name.orValue("") == "windows"
      ? "the pod is for Windows, and pagemesh attaches on Linux; remove pagemesh's annotations"
      : size(variables.containersText) > 8192
      ? "the annotation pagemesh.io/containers has more than 8192 characters; name fewer containers"
      : size(variables.which) > size(variables.all)
      ? "the annotation pagemesh.io/containers names " + string(size(variables.which)) + " containers, and the pod has "
      + string(size(variables.all)) + "; name each of those once"
      : variables.notContainers != []
      ? "the annotation pagemesh.io/containers has " + strings.quote(variables.notContainers[0].substring(0,
      size(variables.notContainers[0]) > 64 ? 64 : size(variables.notContainers[0])))
      + (size(variables.notContainers[0]) > 64 ? "..." : "")
      + ", which is no container of the pod; it has " + variables.allNames.join(", ")
      : object.spec.containers.exists(container, container.name == "pagemesh-keeper")
      || variables.initContainers.exists(container, container.name == "pagemesh-keeper"
      && (container.?restartPolicy.orValue("") != "Always" || !container.?volumeMounts.orValue([]).exists(mount,
      mount.name == "pagemesh" && mount.mountPath == "/run/pagemesh")))
      ? "the container pagemesh-keeper has the name of pagemesh's own; give it another"
      : variables.volumes.exists(volume, volume.name == "pagemesh" && volume.?csi.?driver.orValue("") != "csi.pagemesh.io")
      ? "the volume pagemesh has the name of pagemesh's own, and is not of the CSI driver csi.pagemesh.io; give it another name"
      : variables.covered != []
      ? variables.covered[0][0]
      : variables.badVariables != []
      ? variables.badVariables[0][0][0]
      : ""
{{- end }}

{{/*
Whether the API server itself changes pods. It says so where it is asked; `helm template` knows of no kinds, so there the version
says it. The version alone would not do: a control plane that is being upgraded emulates the one before.
*/}}
{{- define "pagemesh.injection.byPolicy" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $unknown := not (.Capabilities.APIVersions.Has "v1/Pod") -}}
{{- and .Values.injection.enabled (or $served (and $unknown (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version))) -}}
{{- end }}
