using System;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>A ring in the memory of a <see cref="ScriptedFrontend"/>, its driver's side, its events, and a page for what requests carry.</summary>
internal sealed class FrontRing : IDisposable
{
    private const ulong RingsAt = 900;
    private const ulong PagesEach = 8;

    private readonly ScriptedFrontend _front;

    public FrontRing(ScriptedFrontend front, int queue, int size = 8, Feature features = 0)
    {
        _front = front;
        Queue = (uint)queue;
        Size = size;
        Offset = (RingsAt + ((ulong)queue * PagesEach)) * ScriptedFrontend.Page;
        GuestMemory memory = new(new GuestRegion(ScriptedFrontend.GuestBase, ScriptedFrontend.Bytes, front.Memory.Mapping));
        Layout = new VirtqueueLayout(size).PlaceAt(Offset);
        VirtqueueAddresses at = new VirtqueueLayout(size).PlaceAt(ScriptedFrontend.GuestBase + Offset);
        Assert.True(SplitRing.TryMap(memory, size, at, out SplitRing ring));
        Ring = ring;
        Driver = new DriverQueue(ring, (features & Feature.EventIndex) != 0);
        Assert.Equal(Errno.None, Os.CreateEvent(out int kick));
        Assert.Equal(Errno.None, Os.CreateEvent(out int call));
        (Kick, Call) = (kick, call);
    }

    public uint Queue { get; }

    public int Size { get; }

    public ulong Offset { get; }

    public VirtqueueAddresses Layout { get; }

    public SplitRing Ring { get; }

    public DriverQueue Driver { get; }

    public int Kick { get; }

    public int Call { get; }

    public ulong BufferAddress => ScriptedFrontend.GuestBase + Offset + ((PagesEach - 1) * ScriptedFrontend.Page);

    public unsafe Span<uint> Buffer =>
        new((void*)(_front.Memory.Mapping + (nint)(Offset + ((PagesEach - 1) * ScriptedFrontend.Page))), (int)ScriptedFrontend.Page / sizeof(uint));

    public VhostUserVringAddress Address => new()
    {
        Index = Queue,
        DescUserAddr = ScriptedFrontend.UserBase + Layout.Descriptors,
        AvailUserAddr = ScriptedFrontend.UserBase + Layout.Available,
        UsedUserAddr = ScriptedFrontend.UserBase + Layout.Used,
    };

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    /// <summary>The messages that start it, all acknowledged.</summary>
    public void Start(ushort from = 0)
    {
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringNum, ScriptedFrontend.State(Queue, (uint)Size)));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringBase, ScriptedFrontend.State(Queue, from)));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringAddress, Address));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringCall, (ulong)Queue, Call));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringKick, (ulong)Queue, Kick));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(Queue, 1)));
    }

    /// <summary>Stops it; where it stood.</summary>
    public uint Stop() =>
        _front.Ask<VhostUserVringState>(VhostUserRequest.GetVringBase, ScriptedFrontend.BytesOf(ScriptedFrontend.State(Queue, 0))).Num;

    /// <summary>Publishes a report of so many pages of guest memory.</summary>
    public void Report(ulong page, uint pages, ulong token = 0, bool kicks = true)
    {
        QueueBuffer block = new(ScriptedFrontend.GuestBase + (page * ScriptedFrontend.Page), pages * (uint)ScriptedFrontend.Page, DeviceWrites: true);
        Assert.True(Driver.TryAdd([block], token));
        if (Driver.Publish() && kicks)
        {
            Os.Signal(Kick);
        }
    }

    /// <summary>Publishes what the buffer holds.</summary>
    public void Send(int bytes, ulong token = 0)
    {
        Assert.True(Driver.TryAdd([new QueueBuffer(BufferAddress, (uint)bytes, DeviceWrites: false)], token));
        if (Driver.Publish())
        {
            Os.Signal(Kick);
        }
    }

    /// <summary>Waits until a request has come back, by the event that tells so; whose.</summary>
    public ulong Await()
    {
        UsedRequest used;
        while (!Driver.TryReap(out used))
        {
            Assert.Equal(DriverQueueFault.None, Driver.Fault);
            PollEntry[] entries = [new PollEntry(Call)];
            Assert.Equal(Errno.None, Os.Poll(entries, (int)ScriptedFrontend.Patience.TotalMilliseconds, out int ready));
            Assert.True(ready > 0, $"no answer on ring {Queue}; the backend ended with: {_front.Backend.EndReason ?? "(it runs)"}");
            Os.Drain(Call);
        }

        return used.Token;
    }

    public void Dispose()
    {
        Os.Close(Kick);
        Os.Close(Call);
    }
}
