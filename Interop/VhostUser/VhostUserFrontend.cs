using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>A region of this process's memory as it is shared with a backend.</summary>
/// <param name="GuestAddress">Its guest address.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="Mapping">Where this process sees it; a number to the backend.</param>
/// <param name="File">Its file, sealed against shrinking; it stays the caller's.</param>
/// <param name="Offset">Of its first byte in the file.</param>
internal readonly record struct SharedRegion(ulong GuestAddress, ulong Bytes, nint Mapping, int File, ulong Offset = 0);

/// <summary>The driver's end of a vhost-user connection: asks, and waits for answers for so long as it is told to. Every method says false
/// where the backend has not done it; from then on the connection is good for nothing and <see cref="Failure"/> says why. Thread-safe: one
/// request at a time.</summary>
internal sealed class VhostUserFrontend : IDisposable
{
    private readonly Lock _guard = new();
    private readonly MessageSocket _socket;
    private readonly IDescriptors _os;
    private readonly TimeProvider _clock;
    private readonly TimeSpan _timeout;

    /// <summary>Takes over a connected socket.</summary>
    /// <param name="socket">The connection.</param>
    /// <param name="os">Descriptors.</param>
    /// <param name="clock">The clock of the timeout.</param>
    /// <param name="timeout">How long one answer may take.</param>
    public VhostUserFrontend(Socket socket, IDescriptors os, TimeProvider clock, TimeSpan timeout)
    {
        ArgumentNullException.ThrowIfNull(os);
        _socket = new MessageSocket(socket, os);
        _os = os;
        _clock = clock;
        _timeout = timeout;
    }

    /// <summary>Connects to a backend; null, and why, where there is none. Never blocks.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "The frontend owns the socket.")]
    public static VhostUserFrontend? TryConnect(string path, IDescriptors os, TimeProvider clock, TimeSpan timeout, out string? why)
    {
        Socket? socket = UnixSockets.TryConnect(path, out why);
        return socket is null ? null : new VhostUserFrontend(socket, os, clock, timeout);
    }

    /// <summary>To wait for: it becomes readable when the backend is gone.</summary>
    public int Descriptor => _socket.Descriptor;

    /// <summary>The device's features, without the bit that stands for protocol features.</summary>
    public Feature Features { get; private set; }

    /// <summary>Protocol features that both sides know.</summary>
    public VhostUserProtocolFeature ProtocolFeatures { get; private set; }

    /// <summary>Queues that the device has; as many as were asked for where it does not say.</summary>
    public int Queues { get; private set; } = int.MaxValue;

    /// <summary>Why the connection is good for nothing any more; null while it is.</summary>
    public string? Failure { get; private set; }

    private bool HasReplyAck => (ProtocolFeatures & VhostUserProtocolFeature.ReplyAck) != 0;

    /// <summary>The first questions of every conversation.</summary>
    /// <param name="wanted">Protocol features to take if they are offered.</param>
    public bool TryGreet(VhostUserProtocolFeature wanted)
    {
        if (!TryAsk(VhostUserRequest.GetFeatures, default, out ulong features))
        {
            return false;
        }

        Features = (Feature)features & ~VhostUserBackend.ProtocolFeaturesBit;
        if (((Feature)features & VhostUserBackend.ProtocolFeaturesBit) == 0)
        {
            return TryTell(VhostUserRequest.SetOwner, default);
        }

        if (!TryAsk(VhostUserRequest.GetProtocolFeatures, default, out ulong offered))
        {
            return false;
        }

        VhostUserProtocolFeature taken = wanted & (VhostUserProtocolFeature)offered;
        if (!TryTell(VhostUserRequest.SetProtocolFeatures, (ulong)taken))
        {
            return false;
        }

        ProtocolFeatures = taken;
        if (!TryTell(VhostUserRequest.SetOwner, default))
        {
            return false;
        }

        ulong queues = 0;
        bool asks = (taken & VhostUserProtocolFeature.MultiQueue) != 0;
        if (asks && !TryAsk(VhostUserRequest.GetQueueNum, default, out queues))
        {
            return false;
        }

        Queues = asks ? (int)Math.Min(queues, int.MaxValue) : Queues;
        return true;
    }

    /// <summary>Says what the driver has accepted.</summary>
    public bool TrySetFeatures(Feature features) =>
        TryTell(VhostUserRequest.SetFeatures, (ulong)(features | VhostUserBackend.ProtocolFeaturesBit));

    /// <summary>Shares memory; in place of what was shared before.</summary>
    public bool TrySetMemory(IReadOnlyList<SharedRegion> regions)
    {
        ArgumentNullException.ThrowIfNull(regions);
        Span<byte> payload = new byte[sizeof(ulong) + (regions.Count * VhostUserMemoryRegion.SizeInBytes)];
        Span<int> files = stackalloc int[IDescriptors.FilesMax];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, (uint)regions.Count);
        for (int i = 0; i < regions.Count; i++)
        {
            files[i] = regions[i].File;
            VhostUserMemoryRegion region = new()
            {
                GuestAddress = regions[i].GuestAddress,
                Bytes = regions[i].Bytes,
                UserAddress = (ulong)regions[i].Mapping,
                MmapOffset = regions[i].Offset,
            };
            MemoryMarshal.Write(payload[(sizeof(ulong) + (i * VhostUserMemoryRegion.SizeInBytes))..], region);
        }

        return TryTell(VhostUserRequest.SetMemoryTable, payload, files[..regions.Count]);
    }

    /// <summary>Describes a ring and starts it.</summary>
    /// <param name="queue">Its number.</param>
    /// <param name="size">Its descriptors.</param>
    /// <param name="at">Where it lies, in this process's addresses.</param>
    /// <param name="kick">The event by which the driver tells the device.</param>
    /// <param name="call">The event by which the device tells the driver.</param>
    public bool TryStartRing(int queue, int size, in VhostUserVringAddress at, int kick, int call)
    {
        uint index = (uint)queue;
        return TryTell(VhostUserRequest.SetVringNum, new VhostUserVringState { Index = index, Num = (uint)size })
            && TryTell(VhostUserRequest.SetVringBase, new VhostUserVringState { Index = index })
            && TryTell(VhostUserRequest.SetVringAddress, at)
            && TryTell(VhostUserRequest.SetVringCall, MemoryMarshal.AsBytes([(ulong)index]), [call])
            && TryTell(VhostUserRequest.SetVringKick, MemoryMarshal.AsBytes([(ulong)index]), [kick])
            && TryTell(VhostUserRequest.SetVringEnable, new VhostUserVringState { Index = index, Num = 1 });
    }

    /// <summary>Says goodbye and waits until the backend has closed its end too, which it does after it has let go of the memory. False: it
    /// has not, in this time.</summary>
    public bool TryPart(in Deadline deadline)
    {
        lock (_guard)
        {
            _socket.ShutDown();
            PollEntry[] entries = [new PollEntry(_socket.Descriptor, PollEvents.None)];
            while (_os.Poll(entries, Milliseconds(deadline.Left), out int ready) is Errno.None or Errno.EINTR)
            {
                if (ready > 0 || deadline.Left == TimeSpan.Zero)
                {
                    return ready > 0;
                }
            }

            return false;
        }
    }

    /// <summary>Hands over the socket on which the backend may speak without being asked.</summary>
    public bool TrySetChannel(int file) => TryTell(VhostUserRequest.SetBackendChannel, default, [file]);

    /// <summary>Reads the configuration space from its start.</summary>
    public bool TryReadConfig(Span<byte> bytes)
    {
        Span<byte> payload = stackalloc byte[VhostUserConfigHeader.SizeInBytes + bytes.Length];
        MemoryMarshal.Write(payload, new VhostUserConfigHeader { Size = (uint)bytes.Length });
        lock (_guard)
        {
            if (!Send(VhostUserRequest.GetConfig, 0, payload, default) || !Await(VhostUserRequest.GetConfig))
            {
                return false;
            }

            if (_socket.Payload.Length != payload.Length)
            {
                return Fail($"the backend has no {bytes.Length} bytes of configuration");
            }

            _socket.Payload[VhostUserConfigHeader.SizeInBytes..].CopyTo(bytes);
            return true;
        }
    }

    /// <summary>Writes a word of the configuration space. Does not wait: a backend that will not have it closes the connection.</summary>
    public bool TryWriteConfig(int offset, uint value)
    {
        Span<byte> payload = stackalloc byte[VhostUserConfigHeader.SizeInBytes + sizeof(uint)];
        MemoryMarshal.Write(payload, new VhostUserConfigHeader { Offset = (uint)offset, Size = sizeof(uint) });
        BinaryPrimitives.WriteUInt32LittleEndian(payload[VhostUserConfigHeader.SizeInBytes..], value);
        lock (_guard)
        {
            return Send(VhostUserRequest.SetConfig, 0, payload, default);
        }
    }

    /// <summary>Closes the connection.</summary>
    public void Dispose()
    {
        lock (_guard)
        {
            Fail("the connection was closed");
            _socket.Dispose();
        }
    }

    private bool TryTell<T>(VhostUserRequest request, in T payload)
        where T : unmanaged =>
        TryTell(request, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in payload)), default);

    private bool TryTell(VhostUserRequest request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> files = default)
    {
        lock (_guard)
        {
            if (!Send(request, HasReplyAck ? VhostUserFlags.NeedReply : 0, payload, files))
            {
                return false;
            }

            if (!HasReplyAck)
            {
                return true;
            }

            return Await(request) && ((_socket.TryRead(out ulong result) && result == 0) || Fail($"the backend refused {request}"));
        }
    }

    private bool TryAsk<T>(VhostUserRequest request, ReadOnlySpan<byte> payload, out T answer)
        where T : unmanaged
    {
        answer = default;
        lock (_guard)
        {
            return Send(request, 0, payload, default) && Await(request)
                && (_socket.TryRead(out answer) || Fail($"the backend's answer to {request} has {_socket.Payload.Length} bytes"));
        }
    }

    private bool Send(VhostUserRequest request, VhostUserFlags flags, ReadOnlySpan<byte> payload, ReadOnlySpan<int> files)
    {
        if (Failure is not null)
        {
            return false;
        }

        Errno error = _socket.Send((uint)request, flags, payload, files);
        return error == Errno.None || Fail($"{request} could not be sent: {error}");
    }

    private bool Await(VhostUserRequest request)
    {
        Deadline deadline = new(_clock, _timeout);
        ReceiveResult result;
        while ((result = _socket.TryReceive()) == ReceiveResult.More)
        {
            TimeSpan left = deadline.Left;
            if (left == TimeSpan.Zero)
            {
                return Fail($"no answer to {request} within {_timeout.TotalSeconds:0.###} s");
            }

            _os.Poll([new PollEntry(_socket.Descriptor)], Milliseconds(left), out _);
        }

        return result switch
        {
            ReceiveResult.Message when _socket.Request == (uint)request && (_socket.Flags & VhostUserFlags.Reply) != 0 => true,
            ReceiveResult.Message => Fail($"an answer to {_socket.Request} where one to {request} was due"),
            ReceiveResult.Closed => Fail("the backend has closed the connection"),
            _ => Fail("what the backend says is no vhost-user message of version 1"),
        };
    }

    /// <summary>In steps of a second, so that a clock that tests move is looked at again.</summary>
    private static int Milliseconds(TimeSpan left) => left == Timeout.InfiniteTimeSpan ? 1000 : (int)Math.Ceiling(Math.Min(left.TotalMilliseconds, 1000));

    /// <summary>Notes what makes the connection good for nothing, if nothing has before. False.</summary>
    public bool Fail(string why)
    {
        Failure ??= why;
        return false;
    }
}
