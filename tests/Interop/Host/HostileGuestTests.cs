using System;
using System.Buffers.Binary;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>A guest that lies is cut off with a reason, one that dies leaves nothing behind, and neither harms another.</summary>
public sealed class HostileGuestTests
{
    private const ulong MiB = HostFixture.MiB;

    private static PageRange Block(uint first, uint pages) => new(new Pfn(first), pages);

    [Fact]
    public void A_chain_outside_memory()
    {
        using HostFixture host = new();
        HostGuest liar = host.Connect();
        Assert.True(liar.Driver.React([Block(1 << 20, 512)], 0));
        ExpectCutOff(host, "a chain on a ring: BufferOutOfRange");
    }

    [Fact]
    public void A_balloon_of_pages_that_are_none_of_its_own()
    {
        using HostFixture host = new();
        HostGuest liar = host.Connect();
        liar.Pages.LiesBy = 1 << 20;
        host.Until(() => host[0].State == GuestState.Running, "running");
        host.Server.SetTarget(host[0].Id, 256);
        ExpectCutOff(host, "it gave away pages that are not its own");
    }

    [Theory]
    [InlineData("63000000 01000000 00000000", "request 99 was not negotiated")]
    [InlineData("01000000 02000000 00000000", "what came over the socket is no vhost-user message of version 1")]
    [InlineData("01000000 01000000 01100000", "what came over the socket is no vhost-user message of version 1")]
    [InlineData("02000000 01000000 04000000 00000000", "request 2 with a payload of 4 bytes")]
    [InlineData("02000000 01000000 08000000 0000000000000000", "features 0x0 were not all offered, or VERSION_1 is missing")]
    [InlineData("02000000 01000000 08000000 ffffffffffffffff", "features 0xffffffffffffffff were not all offered, or VERSION_1 is missing")]
    [InlineData("10000000 01000000 08000000 0200000000000000", "protocol features 0x2 were not all offered")]
    [InlineData("05000000 01000000 08000000 0100000000000000", "a memory table of 1 regions and 0 files: at most 8, and a file for each")]
    [InlineData("05000000 01000000 08000000 0900000000000000", "a memory table of 9 regions and 0 files: at most 8, and a file for each")]
    [InlineData("08000000 01000000 08000000 0500000040000000", "ring 5 of 5")]
    [InlineData("0c000000 01000000 08000000 0000000000000000", "request 12 with 0 files instead of one")]
    [InlineData("15000000 01000000 00000000", "request 21 with 0 files instead of one")]
    [InlineData("19000000 01000000 0c000000 00000000 04010000 00000000", "configuration of 260 bytes at 0: whole words below 256")]
    public void A_message_that_is_none(string bytes, string reason)
    {
        using HostFixture host = new();
        HostGuest honest = host.Connect();
        using Socket liar = Raw(host);
        liar.Send(Convert.FromHexString(bytes.Replace(" ", "", StringComparison.Ordinal)));
        ExpectCutOff(host, reason);
        ExpectServed(host, honest);
    }

    [Fact]
    public void A_file_that_can_shrink_under_the_host()
    {
        using HostFixture host = new();
        string path = Path.GetTempFileName();
        using (FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose))
        {
            file.SetLength((long)MiB);
            using Socket liar = Raw(host);
            using MessageSocket socket = new(liar, LinuxDescriptors.Instance);
            Share(socket, new VhostUserMemoryRegion { Bytes = MiB }, (int)file.SafeFileHandle.DangerousGetHandle());
            ExpectCutOff(host, "the file of a region can shrink under this process and cannot be sealed");
        }
    }

    [Theory]
    [InlineData(0, 0, 0x200000, 0, "of a file of 0x100000 bytes")]
    [InlineData(0, 0, 0x100000, 0x1000, "of a file of 0x100000 bytes")]
    [InlineData(0, 0, 0x1000, 1, "its offset is no page")]
    [InlineData(0, 0, 0, 0, "it is empty")]
    [InlineData(-0x1000, 0, 0x100000, 0, "wraps")]
    [InlineData(0, -0x1000, 0x100000, 0, "wraps")]
    public void A_region_that_is_not_in_its_file(long guest, long user, long bytes, long offset, string reason)
    {
        using HostFixture host = new();
        using SharedMemoryFile file = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "region", (nuint)MiB);
        using Socket liar = Raw(host);
        using MessageSocket socket = new(liar, LinuxDescriptors.Instance);
        VhostUserMemoryRegion region = new()
        {
            GuestAddress = unchecked((ulong)guest),
            UserAddress = unchecked((ulong)user),
            Bytes = (ulong)bytes,
            MmapOffset = (ulong)offset,
        };
        Share(socket, region, file.File);
        ExpectCutOff(host, reason);
    }

    [Fact]
    public void Half_a_message_and_silence_hold_nobody_up()
    {
        using HostFixture host = new();
        using Socket silent = Raw(host);
        silent.Send([1, 0, 0, 0, 1]);
        using Socket mute = Raw(host);
        HostGuest honest = host.Connect();
        ExpectServed(host, honest);
        Assert.Equal(2, host.Server.Guests.Count(static guest => guest.State == GuestState.Greeting));
    }

    /// <summary>SET_OWNER has no answer, so its sender never has to read.</summary>
    [Fact]
    public void A_flood_of_messages_does_not_keep_the_host_from_its_end()
    {
        using HostFixture host = new();
        using Socket flood = Raw(host);
        Thread flooding = new(() => Flood(flood)) { IsBackground = true };
        flooding.Start();
        HostGuest honest = host.Connect();
        ExpectServed(host, honest);
        host.Server.Dispose();
        Assert.Equal(2, host.Server.Ended.Count(static guest => guest.Reason == "this host ends"));
        Assert.True(flooding.Join(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void A_guest_that_dies_in_the_middle_of_a_batch_leaves_nothing_behind()
    {
        using HostFixture host = new();
        HostGuest other = host.Connect();
        HostGuest guest = host.Connect();
        other.Touch(Block(0, 512));
        guest.Touch(Block(0, 8192));
        host.Until(() => host.Server.Guests.All(static one => one.State == GuestState.Running), "both run");
        Assert.Equal(2, Descriptors(guest));
        PageRange[] batch = [.. Enumerable.Range(0, 16).Select(static i => Block((uint)i * 512, 512))];
        Assert.True(guest.Driver.React(batch, 0));
        guest.Transport.Dispose();
        host.Until(() => host.Server.Guests.Count == 1, "it is gone");
        Assert.Equal(1, Descriptors(guest));

        // Not at once: another test may be starting a process, which has all descriptors for a moment.
        host.Until(() => LinuxDescriptors.Instance.IsAlone(guest.Arena.File) == Errno.None, "nobody else has its memory");
        EndedGuest end = Assert.Single(host.Server.Ended);
        Assert.Equal(("the guest has closed the connection", false), (end.Reason, end.WasCutOff));
        Assert.Equal(2 * MiB, other.ResidentBytes);
        ExpectServed(host, other);

        static int Descriptors(HostGuest guest) => Directory.GetFiles("/proc/self/fd").Count(path => IsOf(guest, path));
    }

    [Fact]
    public void Claims_take_nothing_from_others()
    {
        using HostFixture host = new(budget: 128 * MiB);
        HostGuest honest = host.Connect(192 * MiB);
        HostGuest liar = host.Connect(1024 * MiB);
        honest.Use(48 * MiB);
        liar.Pages.UsedBytes = 1024 * MiB;

        // What is claimed is not resident: it counts as nothing, and gets what nothing gets. Needs 80 and 32, and half of what is left.
        host.Until(() => (Of(honest).AllowanceBytes / MiB, Of(liar).AllowanceBytes / MiB) is (87, 39) or (88, 40) or (87, 40), "each has its need");
        Assert.InRange(Of(liar).UsedBytes, 0ul, MiB);

        GuestStatus Of(HostGuest guest) => host.Server.Guests.Single(one => one.SharedBytes > guest.Arena.Bytes && one.SharedBytes < guest.Arena.Bytes + (8 * MiB));
    }

    /// <summary>Other tests close what they have opened meanwhile.</summary>
    private static bool IsOf(HostGuest guest, string descriptor)
    {
        try
        {
            return File.ResolveLinkTarget(descriptor, false)?.Name.Contains(guest.Name, StringComparison.Ordinal) == true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static Socket Raw(HostFixture host)
    {
        Socket? socket = UnixSockets.TryConnect(host.SocketPath, out string? why);
        Assert.True(socket is not null, why);
        return socket;
    }

    private static void Share(MessageSocket socket, VhostUserMemoryRegion region, int file)
    {
        byte[] payload = new byte[sizeof(ulong) + VhostUserMemoryRegion.SizeInBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, 1);
        MemoryMarshal.Write(payload.AsSpan(sizeof(ulong)), region);
        Assert.Equal(Errno.None, socket.Send((uint)VhostUserRequest.SetMemoryTable, 0, payload, [file]));
    }

    private static void Flood(Socket socket)
    {
        byte[] messages = new byte[12 * 1024];
        for (int i = 0; i < messages.Length; i += 12)
        {
            messages[i] = (byte)VhostUserRequest.SetOwner;
            messages[i + 4] = 1;
        }

        try
        {
            socket.Blocking = true;
            while (socket.Send(messages) == messages.Length)
            {
            }
        }
        catch (SocketException)
        {
            // The host has closed.
        }
    }

    private static void ExpectCutOff(HostFixture host, string reason)
    {
        host.Until(() => host.Server.Ended.Count == 1, "the liar is cut off");
        EndedGuest end = host.Server.Ended[0];
        Assert.Contains(reason, end.Reason, StringComparison.Ordinal);
        Assert.True(end.WasCutOff);
    }

    private static void ExpectServed(HostFixture host, HostGuest guest)
    {
        guest.Touch(Block(512, 512));
        ulong before = guest.ResidentBytes;
        Assert.Equal(SettleResult.Treated, guest.Report(Block(512, 512)));
        Assert.Equal(before - (2 * MiB), guest.ResidentBytes);
        Assert.Contains(host.Server.Guests, static one => one.State == GuestState.Running);
    }
}
