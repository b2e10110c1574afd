// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// sizeAttribute is the volume attribute with the size, in bytes, that a volume is made with.
const sizeAttribute = "sizeBytes"

// node is the CSI node service. Calls are served one after the other: mounts are quick, and kubelet repeats itself.
type node struct {
	csi.UnimplementedNodeServer
	name    string
	volumes string // folder of the volume files
	mu      sync.Mutex
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *node) NodeGetCapabilities(
	context.Context,
	*csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	var answer csi.NodeGetCapabilitiesResponse
	for _, c := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}}})
	}
	return &answer, nil
}

// NodeStageVolume makes the volume's file when it is new and mounts it for the whole node.
func (n *node) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size, err := strconv.ParseInt(r.VolumeContext[sizeAttribute], 10, 64)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s: attribute %s: %v", r.VolumeId, sizeAttribute, err)
	}
	file, err := n.file(r.VolumeId)
	if err != nil {
		return nil, err
	}
	if err := makeFile(file, size); err != nil {
		return nil, status.Errorf(codes.Internal, "make volume %s: %v", r.VolumeId, err)
	}
	if source, err := mountSource(r.StagingTargetPath); err != nil || source != "" {
		return &csi.NodeStageVolumeResponse{}, err
	}
	if err := os.MkdirAll(r.StagingTargetPath, 0o750); err != nil {
		return nil, err
	}
	// mount makes the loop device one that goes away with its last mount, even when the node is killed.
	return &csi.NodeStageVolumeResponse{}, command("mount", "-t", "xfs", "-o", "loop", file, r.StagingTargetPath)
}

func (n *node) NodeUnstageVolume(
	_ context.Context,
	r *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &csi.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
}

// NodePublishVolume shows the staged volume at a pod's path.
func (n *node) NodePublishVolume(
	_ context.Context,
	r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if source, err := mountSource(r.TargetPath); err != nil || source != "" {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	if err := command("mount", "--bind", r.StagingTargetPath, r.TargetPath); err != nil {
		return nil, err
	}
	if r.Readonly {
		return &csi.NodePublishVolumeResponse{}, command("mount", "-o", "remount,bind,ro", r.TargetPath)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) NodeUnpublishVolume(
	_ context.Context,
	r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetVolumeStats reports bytes and inodes of the mounted volume.
func (n *node) NodeGetVolumeStats(
	_ context.Context,
	r *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(r.VolumePath, &s); err != nil {
		return nil, status.Errorf(codes.NotFound, "statfs %s: %v", r.VolumePath, err)
	}
	block := s.Bsize
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit:      csi.VolumeUsage_BYTES,
			Total:     int64(s.Blocks) * block,
			Available: int64(s.Bavail) * block,
			Used:      int64(s.Blocks-s.Bfree) * block,
		},
		{
			Unit:      csi.VolumeUsage_INODES,
			Total:     int64(s.Files),
			Available: int64(s.Ffree),
			Used:      int64(s.Files - s.Ffree),
		},
	}}, nil
}

// NodeExpandVolume grows file, loop device and file system while the volume is mounted. It never shrinks.
func (n *node) NodeExpandVolume(
	_ context.Context,
	r *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	file, err := n.file(r.VolumeId)
	if err != nil {
		return nil, err
	}
	device, err := mountSource(r.VolumePath)
	if err != nil || device == "" {
		return nil, status.Errorf(codes.NotFound, "volume %s is not mounted on %s: %v", r.VolumeId, r.VolumePath, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "volume %s: %v", r.VolumeId, err)
	}
	size := max(info.Size(), r.GetCapacityRange().GetRequiredBytes())
	if err := os.Truncate(file, size); err != nil {
		return nil, err
	}
	if err := command("losetup", "--set-capacity", device); err != nil {
		return nil, err
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: size}, command("xfs_growfs", r.VolumePath)
}

// file is the path of a volume's file; ids are names of PersistentVolumes, and anything else is refused.
func (n *node) file(id string) (string, error) {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return "", status.Errorf(codes.InvalidArgument, "bad volume id %q", id)
	}
	return filepath.Join(n.volumes, id+".img"), nil
}

// makeFile makes a sparse file of size bytes with an empty file system, unless it exists.
func makeFile(file string, size int64) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	draft, err := os.Create(file + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(draft.Truncate(size), draft.Close()); err != nil {
		return err
	}
	if err := command("mkfs.xfs", "-q", "-f", draft.Name()); err != nil {
		return err
	}
	return os.Rename(draft.Name(), file)
}

// unmount undoes all mounts on path; none is no error.
func unmount(path string) error {
	for {
		source, err := mountSource(path)
		if err != nil || source == "" {
			return err
		}
		if err := syscall.Unmount(path, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// mountSource returns the device mounted on path, "" when nothing is.
func mountSource(path string) (string, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	source := ""
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == path {
			source = fields[0]
		}
	}
	return source, nil
}

// command runs a program and returns what it said as the error when it fails.
func command(name string, args ...string) error {
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return status.Errorf(codes.Internal, "%s %s: %v: %s", name, strings.Join(args, " "), err, text)
	}
	return nil
}
