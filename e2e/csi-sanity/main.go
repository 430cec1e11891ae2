// Runs csi-sanity, the tests of Kubernetes' storage group for CSI drivers, against a node's agent.
//
// Those tests take volumes from a driver's controller. A driver of ephemeral volumes has none: a volume begins when the kubelet
// publishes it, and who it is for comes with that. So here the part that asks is given what a controller would answer, a
// volume that knows its pod, and everything that the driver itself does is asked of the driver.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

var (
	endpoint  = flag.String("endpoint", "", "socket of the agent's driver")
	podsDir   = flag.String("pods-dir", "/var/lib/kubelet/pods", "where the kubelet has its pods' directories")
	podUID    = flag.String("pod-uid", "", "UID of a pod that runs there: the kubelet removes directories of others")
	podName   = flag.String("pod-name", "", "its name")
	namespace = flag.String("pod-namespace", "", "its namespace")
	account   = flag.String("service-account", "default", "its service account")
	regions   = flag.String("regions", "table", "regions of the volumes")
)

// provisioner answers in place of a controller.
type provisioner struct {
	created atomic.Int64
}

// intercept has the answer of a controller for what a controller is asked, and the driver's for everything else.
func (p *provisioner) intercept(
	ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	switch method {
	case csi.Controller_CreateVolume_FullMethodName:
		proto.Merge(reply.(proto.Message), &csi.CreateVolumeResponse{Volume: &csi.Volume{
			VolumeId: fmt.Sprintf("csi-sanity-%d-%d", os.Getpid(), p.created.Add(1)),
			VolumeContext: map[string]string{
				"csi.storage.k8s.io/ephemeral":           "true",
				"csi.storage.k8s.io/pod.namespace":       *namespace,
				"csi.storage.k8s.io/pod.name":            *podName,
				"csi.storage.k8s.io/pod.uid":             *podUID,
				"csi.storage.k8s.io/serviceAccount.name": *account,
				"regions":                                *regions,
			},
		}})
		return nil
	case csi.Controller_DeleteVolume_FullMethodName, csi.Controller_ControllerGetCapabilities_FullMethodName:
		return nil
	case csi.Identity_GetPluginCapabilities_FullMethodName:
		// Without it the tests do not publish at all.
		if err := invoke(ctx, method, request, reply, connection, options...); err != nil {
			return err
		}
		proto.Merge(reply.(proto.Message), &csi.GetPluginCapabilitiesResponse{
			Capabilities: []*csi.PluginCapability{{Type: &csi.PluginCapability_Service_{
				Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
			}}},
		})
		return nil
	}
	return invoke(ctx, method, request, reply, connection, options...)
}

type result struct{ failed bool }

func (r *result) Fail() { r.failed = true }

func main() {
	// Of a controller there is nothing to test.
	flag.Set("ginkgo.skip", `\[Controller Server\]|\[GroupController`)
	flag.Parse()
	if *endpoint == "" || *podUID == "" || *podName == "" || *namespace == "" {
		flag.Usage()
		os.Exit(2)
	}
	config := sanity.NewTestConfig()
	config.Address = "unix:" + *endpoint
	config.DialOptions = append(config.DialOptions, grpc.WithUnaryInterceptor((&provisioner{}).intercept))
	// Beside the pod's own volumes.
	config.TargetPath = filepath.Join(*podsDir, *podUID, "volumes", "kubernetes.io~csi", "csi-sanity")
	config.CreateTargetDir = func(path string) (string, error) { return path, os.MkdirAll(path, 0o750) }
	config.RemoveTargetPath = os.Remove
	staging, err := os.MkdirTemp("", "csi-sanity")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	config.StagingPath = filepath.Join(staging, "staging")
	outcome := result{}
	sanity.Test(&outcome, config)
	os.RemoveAll(staging)
	if outcome.failed {
		os.Exit(1)
	}
}
