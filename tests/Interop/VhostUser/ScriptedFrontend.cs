using System;
using System.Diagnostics.CodeAnalysis;
using System.Linq;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>A backend with a balloon on a thread of its own, and a frontend that says whatever the test wants it to. Disposing waits for the
/// backend's end and looks that nothing of it is left.</summary>
internal sealed class ScriptedFrontend : IDisposable
{
    public const ulong Page = 4096;
    public const ulong Bytes = 1024 * Page;

    /// <summary>The guest's memory begins there; the frontend sees it elsewhere, at <see cref="UserBase"/>.</summary>
    public const ulong GuestBase = 1ul << 32;
    public const ulong UserBase = 0x7abc_0000_0000;

    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Thread _thread;
    private Exception? _crash;

    [SuppressMessage("Reliability", "CA2000", Justification = "The backend owns the socket, which owns the handle.")]
    public ScriptedFrontend(SharedMemoryFile? memory = null, BalloonDeviceOptions? options = null, LedgerDescriptors? ledger = null)
    {
        OwnsMemory = memory is null;
        Ledger = ledger ?? new LedgerDescriptors();
        Memory = memory ?? SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, Name, (nuint)Bytes);
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int front, out int back));
        Socket = MessageSocket.Adopt(front, Os);
        Guest = new SharedGuest(System, Ledger);
        Device = new BalloonDevice(new GuestMemory(), ulong.MaxValue, Guest, Guest, options ?? new BalloonDeviceOptions());
        Backend = new VhostUserBackend(new Socket(new SafeSocketHandle(back, ownsHandle: true)), Device, Guest, Ledger, Clock);
        _thread = new Thread(Run) { IsBackground = true, Name = "scripted backend" };
        _thread.Start();
    }

    public string Name { get; } = $"scripted-{Guid.NewGuid():N}";

    /// <summary>What the backend takes for time; it stands still.</summary>
    public ManualClock Clock { get; } = new();

    public LedgerDescriptors Ledger { get; }

    public FaultyOperatingSystem System { get; } = new();

    public SharedMemoryFile Memory { get; }

    public MessageSocket Socket { get; }

    public VhostUserBackend Backend { get; }

    public BalloonDevice Device { get; }

    public SharedGuest Guest { get; }

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    private bool OwnsMemory { get; }

    public static VhostUserMemoryRegion Region { get; } = new() { GuestAddress = GuestBase, Bytes = Bytes, UserAddress = UserBase };

    public static VhostUserVringState State(uint index, uint number) => new() { Index = index, Num = number };

    public static byte[] BytesOf<T>(in T value)
        where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    /// <summary>Says something that needs no answer.</summary>
    public void Say(VhostUserRequest request, byte[] payload, params int[] files) =>
        Assert.Equal(Errno.None, Socket.Send((uint)request, 0, payload, files));

    public void Say<T>(VhostUserRequest request, in T payload, params int[] files)
        where T : unmanaged =>
        Say(request, BytesOf(payload), files);

    /// <summary>Several messages that arrive as one piece.</summary>
    public void SayAtOnce(params (VhostUserRequest Request, byte[] Payload)[] messages)
    {
        byte[] bytes = [.. messages.SelectMany(one => Message((uint)one.Request, VhostUserLimits.Version, one.Payload))];
        Assert.Equal(Errno.None, Os.Send(Socket.Descriptor, bytes, [], out int sent));
        Assert.Equal(bytes.Length, sent);
    }

    /// <summary>A message as it goes over the wire.</summary>
    public static byte[] Message(uint request, uint flags, byte[] payload) =>
        [.. BytesOf(new VhostUserHeader { Request = request, Flags = flags, Size = (uint)payload.Length }), .. payload];

    /// <summary>Asks, and waits for the answer.</summary>
    public T Ask<T>(VhostUserRequest request, byte[] payload, params int[] files)
        where T : unmanaged
    {
        Say(request, payload, files);
        Assert.Equal(ReceiveResult.Message, Hear());
        Assert.Equal(((uint)request, VhostUserFlags.Reply), (Socket.Request, Socket.Flags));
        Assert.True(Socket.TryRead(out T answer), $"{request}: {Socket.Payload.Length} bytes");
        return answer;
    }

    /// <summary>Says something and asks how it went: 0 is well. Needs REPLY_ACK.</summary>
    public ulong Tell(VhostUserRequest request, byte[] payload, params int[] files)
    {
        Assert.Equal(Errno.None, Socket.Send((uint)request, VhostUserFlags.NeedReply, payload, files));
        Assert.Equal(ReceiveResult.Message, Hear());
        Assert.Equal(((uint)request, VhostUserFlags.Reply), (Socket.Request, Socket.Flags));
        Assert.True(Socket.TryRead(out ulong answer));
        return answer;
    }

    public ulong Tell<T>(VhostUserRequest request, in T payload, params int[] files)
        where T : unmanaged =>
        Tell(request, BytesOf(payload), files);

    /// <summary>Waits for something on the socket.</summary>
    public ReceiveResult Hear()
    {
        ReceiveResult result;
        while ((result = Socket.TryReceive()) == ReceiveResult.More)
        {
            PollEntry[] entries = [new PollEntry(Socket.Descriptor)];
            Assert.Equal(Errno.None, Os.Poll(entries, (int)Patience.TotalMilliseconds, out int ready));
            Assert.True(ready > 0, $"the backend says nothing; it ended with: {Backend.EndReason ?? "(it runs)"}");
        }

        return result;
    }

    /// <summary>The usual beginning: features and memory.</summary>
    public void Greet(Feature features = Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.DeflateOnOom, bool shares = true)
    {
        Say(VhostUserRequest.SetOwner, []);
        Say(VhostUserRequest.SetProtocolFeatures, (ulong)VhostUserBackend.Offered);
        Assert.Equal(0ul, Tell(VhostUserRequest.SetFeatures, (ulong)(features | VhostUserBackend.ProtocolFeaturesBit)));
        if (shares)
        {
            Assert.Equal(0ul, ShareMemory());
        }
    }

    public ulong ShareMemory() => Tell(VhostUserRequest.SetMemoryTable, Table(Region), Memory.File);

    public static byte[] Table(params VhostUserMemoryRegion[] regions) =>
        [.. BytesOf((ulong)regions.Length), .. MemoryMarshal.AsBytes(regions.AsSpan())];

    /// <summary>Waits until the backend has ended; why.</summary>
    public string? End()
    {
        Assert.True(_thread.Join(Patience), "the backend does not end");
        Assert.Null(_crash);
        return Backend.EndReason;
    }

    /// <summary>The backend must have cut this frontend off, with this among its words.</summary>
    public void AssertCutOff(string because)
    {
        Assert.Contains(because, End(), StringComparison.Ordinal);
        Assert.True(Backend.WasCutOff);
        AssertNothingIsLeft();
    }

    public void AssertNothingIsLeft()
    {
        Assert.Equal((0, 0ul), (Guest.Table.Count, Guest.Bytes));
        Backend.Dispose();
        Assert.Empty(Ledger.Faults);
    }

    public void HangUp() => Socket.Dispose();

    public void Dispose()
    {
        HangUp();
        End();
        AssertNothingIsLeft();
        if (OwnsMemory)
        {
            Memory.Dispose();
            Assert.Equal((0, 0), (OpenFiles.Named(Name), OpenFiles.Mapped(Name)));
        }
    }

    private void Run()
    {
        try
        {
            Backend.Run();
        }
        catch (Exception e)
        {
            _crash = e;
        }
    }
}
