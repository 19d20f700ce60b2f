using System;
using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>What each message does.</summary>
internal sealed partial class VhostUserBackend
{
    private bool HasProtocolFeatures => (_features & ProtocolFeaturesBit) != 0;

    /// <summary>True: the message has its answer already.</summary>
    private bool Handle(VhostUserRequest request)
    {
        switch (request)
        {
            case VhostUserRequest.GetFeatures:
                return Reply((ulong)(_device.OfferedFeatures | ProtocolFeaturesBit));
            case VhostUserRequest.SetFeatures:
                SetFeatures((Feature)Read<ulong>());
                return false;
            case VhostUserRequest.GetProtocolFeatures:
                return Reply((ulong)Offered);
            case VhostUserRequest.SetProtocolFeatures:
                SetProtocolFeatures((VhostUserProtocolFeature)Read<ulong>());
                return false;
            case VhostUserRequest.GetQueueNum:
                return Reply((ulong)_rings.Length);
            case VhostUserRequest.SetOwner or VhostUserRequest.ResetOwner:
                return false;
            case VhostUserRequest.ResetDevice:
                ResetDevice();
                return false;
            case VhostUserRequest.SetMemoryTable:
                ChangeMemory();
                return false;
            case VhostUserRequest.GetConfig:
                return GetConfig();
            case VhostUserRequest.SetConfig:
                SetConfig();
                return false;
            case VhostUserRequest.SetBackendChannel:
                SetChannel();
                return false;
            default:
                return HandleRing(request);
        }
    }

    private bool HandleRing(VhostUserRequest request)
    {
        switch (request)
        {
            case VhostUserRequest.SetVringNum:
                VhostUserVringState size = Read<VhostUserVringState>();
                Ring(size.Index).Size = size.Num;
                return false;
            case VhostUserRequest.SetVringBase:
                VhostUserVringState start = Read<VhostUserVringState>();
                Ring(start.Index).Base = (ushort)(start.Num & ushort.MaxValue);
                return false;
            case VhostUserRequest.SetVringAddress:
                VhostUserVringAddress address = Read<VhostUserVringAddress>();
                Ring(address.Index).Address = address;
                return false;
            case VhostUserRequest.SetVringKick:
                Ring(RingOfFile(out int kick)).SetKick(kick);
                StartWhatMayRun();
                return false;
            case VhostUserRequest.SetVringCall:
                Vring told = Ring(RingOfFile(out int call));
                told.SetCall(call);

                // What was done before there was anybody to tell, here or at a host before this one, would otherwise be waited for for ever.
                told.Interrupt();
                return false;
            case VhostUserRequest.SetVringErr:
                RingOfFile(out int unused);
                Close(unused);
                return false;
            case VhostUserRequest.SetVringEnable:
                VhostUserVringState enabled = Read<VhostUserVringState>();
                Enable(enabled.Index, enabled.Num != 0);
                return false;
            case VhostUserRequest.GetVringBase:
                VhostUserVringState stopped = Read<VhostUserVringState>();
                stopped.Num = StopRing(stopped.Index);
                Ring(stopped.Index).Stop();
                return Reply(stopped);
            default:
                throw Violation($"request {(uint)request} was not negotiated");
        }
    }

    private void SetFeatures(Feature features)
    {
        _features = features;
        if (!_device.TryBegin(features & ~ProtocolFeaturesBit))
        {
            throw Violation($"features 0x{(ulong)features:x} were not all offered, or VERSION_1 is missing");
        }

        _isBegun = true;
        if (!HasProtocolFeatures)
        {
            // Without the negotiation of protocol features rings are enabled from the start.
            Array.ForEach(_rings, static ring => ring.IsEnabled = true);
        }

        StartWhatMayRun();
    }

    private void SetProtocolFeatures(VhostUserProtocolFeature features)
    {
        if ((features & ~Offered) != 0)
        {
            throw Violation($"protocol features 0x{(ulong)features:x} were not all offered");
        }

        ProtocolFeatures = features;
        ProtocolFeaturesSet?.Invoke(features);
    }

    private void ChangeMemory()
    {
        ushort[] bases = Pause();
        ReplaceMemory();
        _device.SetMemory(_guest.Table.Memory);
        Resume(bases);
    }

    private void ReplaceMemory()
    {
        uint count = BinaryPrimitives.ReadUInt32LittleEndian(Slice(0, sizeof(uint)));
        if (count > VhostUserLimits.RegionsMax || count != _socket.Files)
        {
            throw Violation($"a memory table of {count} regions and {_socket.Files} files: at most {VhostUserLimits.RegionsMax}, and a file for each");
        }

        _guest.Change(static table =>
        {
            table.Dispose();
            return table;
        });
        for (int i = 0; i < count; i++)
        {
            VhostUserMemoryRegion region = MemoryMarshal.Read<VhostUserMemoryRegion>(
                Slice(sizeof(ulong) + (i * VhostUserMemoryRegion.SizeInBytes), VhostUserMemoryRegion.SizeInBytes));
            int file = _socket.TakeFile(i);
            _guest.Change(table => table.With(region, file));
        }
    }

    private bool GetConfig()
    {
        VhostUserConfigHeader header = MemoryMarshal.Read<VhostUserConfigHeader>(Slice(0, VhostUserConfigHeader.SizeInBytes));
        if (!IsInConfig(header))
        {
            // By the protocol an answer without a payload says no.
            return Reply(default);
        }

        Span<byte> reply = stackalloc byte[VhostUserConfigHeader.SizeInBytes + (int)header.Size];
        MemoryMarshal.Write(reply, header);
        for (int i = 0; i < header.Size; i++)
        {
            int at = (int)header.Offset + i;
            int inWord = at % sizeof(uint);
            reply[VhostUserConfigHeader.SizeInBytes + i] = (byte)((_device.ReadConfig(at - inWord) >> (8 * inWord)) & byte.MaxValue);
        }

        return Reply(reply);
    }

    private void SetConfig()
    {
        VhostUserConfigHeader header = MemoryMarshal.Read<VhostUserConfigHeader>(Slice(0, VhostUserConfigHeader.SizeInBytes));
        if (!IsInConfig(header) || (header.Offset | header.Size) % sizeof(uint) != 0)
        {
            throw Violation($"configuration of {header.Size} bytes at {header.Offset}: whole words below {VhostUserLimits.ConfigMax}");
        }

        ReadOnlySpan<byte> bytes = Slice(VhostUserConfigHeader.SizeInBytes, (int)header.Size);
        for (int i = 0; i < bytes.Length; i += sizeof(uint))
        {
            _device.WriteConfig((int)header.Offset + i, BinaryPrimitives.ReadUInt32LittleEndian(bytes[i..]));
        }
    }

    private static bool IsInConfig(in VhostUserConfigHeader header) =>
        header.Offset <= VhostUserLimits.ConfigMax && header.Size <= VhostUserLimits.ConfigMax - header.Offset;

    /// <summary>Takes over the channel, after a look that it keeps nothing alive: who hands over his own end of this connection, or has it lie
    /// in the channel to be read, would never be seen to leave.</summary>
    private void SetChannel()
    {
        _channel?.Dispose();
        _channel = null;
        try
        {
            _channel = MessageSocket.Adopt(TakeOnlyFile(), _os);
        }
        catch (SocketException e)
        {
            throw new ProtocolViolationException("the backend's channel is no unix stream socket", e);
        }

        if (!_channel.TryOnlySend())
        {
            throw Violation($"something stands to be read on the backend's channel, or it is not connected");
        }

        if (!_socket.CanSend())
        {
            throw Violation($"the backend's channel is the frontend's end of this connection, or that is closed");
        }
    }

    private void StartWhatMayRun()
    {
        for (uint i = 0; i < _rings.Length && _isBegun; i++)
        {
            Vring ring = _rings[i];
            if (ring.MayRun && !ring.IsRunning)
            {
                Start(i, ring, ring.Base);

                // What was published before there was anybody to hear is not told again.
                Serve((int)i);
            }
        }
    }

    private void Start(uint index, Vring ring, ushort from)
    {
        VhostUserVringAddress at = ring.Address!.Value;
        bool known = _guest.Table.TryFromUser(at.DescUserAddr, out ulong descriptors)
            & _guest.Table.TryFromUser(at.AvailUserAddr, out ulong available)
            & _guest.Table.TryFromUser(at.UsedUserAddr, out ulong used);
        ProtocolFault fault = known
            ? _device.StartQueue((int)index, (int)Math.Min(ring.Size, int.MaxValue), new VirtqueueAddresses(descriptors, available, used), from)
            : ProtocolFault.QueuePlacement;
        if (fault != ProtocolFault.None)
        {
            throw Violation($"ring {index} of {ring.Size} descriptors cannot run: {fault}");
        }

        ring.IsRunning = true;
        RunningRings++;
    }

    private void Enable(uint index, bool isEnabled)
    {
        Vring ring = Ring(index);
        ring.IsEnabled = isEnabled;
        if (!isEnabled && ring.IsRunning)
        {
            ring.Base = StopRing(index);
        }

        StartWhatMayRun();
    }

    private ushort StopRing(uint index)
    {
        Vring ring = Ring(index);
        if (!ring.IsRunning)
        {
            return ring.Base;
        }

        ring.IsRunning = false;
        RunningRings--;
        ring.Base = _device.StopQueue((int)index);
        return ring.Base;
    }

    /// <summary>To the initial state, but for the memory, the events that tell the driver and the negotiation of protocol features.</summary>
    private void ResetDevice()
    {
        for (uint i = 0; i < _rings.Length; i++)
        {
            StopRing(i);
            _rings[i].Stop();
            _rings[i].IsEnabled = false;
            _rings[i].Base = 0;
        }

        // Nobody else serves it.
        _device.TryReset(new Deadline(TimeProvider.System, TimeSpan.Zero));
        _isBegun = false;
    }

    /// <summary>Stops every ring for a change of memory; those that ran get their places back by <see cref="Resume"/>.</summary>
    private ushort[] Pause()
    {
        ushort[] bases = new ushort[_rings.Length];
        for (int i = 0; i < _rings.Length; i++)
        {
            bases[i] = _rings[i].IsRunning ? _device.StopQueue(i, isForNow: true) : (ushort)0;
        }

        return bases;
    }

    private void Resume(ushort[] bases)
    {
        for (uint i = 0; i < _rings.Length; i++)
        {
            if (_rings[i].IsRunning)
            {
                RunningRings--;
                Start(i, _rings[i], bases[i]);
            }
        }
    }

    private Vring Ring(uint index) =>
        index < (uint)_rings.Length ? _rings[index] : throw Violation($"ring {index} of {_rings.Length}");

    /// <summary>The ring of a message that brings an event, and the event; -1 where the message says that there is none.</summary>
    private uint RingOfFile(out int file)
    {
        ulong word = Read<ulong>();
        uint index = (uint)(word & VhostUserLimits.VringIndexMask);
        Ring(index);
        file = (word & VhostUserLimits.VringNoFd) != 0 ? -1 : TakeOnlyFile();
        if (file >= 0 && _os.AdoptEvent(file) is not Errno.None and Errno error)
        {
            _os.Close(file);
            throw Violation($"request {_socket.Request} with a file that is no event ({error})");
        }

        return index;
    }

    private int TakeOnlyFile() =>
        _socket.Files == 1 ? _socket.TakeFile(0) : throw Violation($"request {_socket.Request} with {_socket.Files} files instead of one");

    private void Close(int file)
    {
        if (file >= 0)
        {
            _os.Close(file);
        }
    }

    private T Read<T>()
        where T : unmanaged =>
        _socket.TryRead(out T value) ? value : throw Violation($"request {_socket.Request} with a payload of {_socket.Payload.Length} bytes");

    private ReadOnlySpan<byte> Slice(int offset, int bytes) =>
        _socket.Payload.Length >= offset + bytes
            ? _socket.Payload.Slice(offset, bytes)
            : throw Violation($"request {_socket.Request} with a payload of {_socket.Payload.Length} bytes");

    private bool Reply<T>(in T value)
        where T : unmanaged =>
        Reply(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    private bool Reply(ReadOnlySpan<byte> payload)
    {
        Errno error = _socket.Send(_socket.Request, VhostUserFlags.Reply, payload);
        return error is Errno.None ? true : throw Violation($"an answer could not be sent: {error}");
    }
}
