using System;
using System.Collections.Generic;
using System.IO;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Our driver and QEMU's balloon device. The machine has no software: its processor stands still, or halts at its first instruction; its
/// memory is a memory file of this process, which QEMU maps too; and what a processor would do to the device's registers, qtest does. The
/// arena is the machine's memory between 4 MiB and 60 MiB.</summary>
internal sealed class QemuBalloon : IDisposable
{
    public const uint FirstPage = 1024;
    public const uint Pages = 56 << 8;

    private const ulong RamBytes = 64 << 20;
    private const ulong ControlAddress = 60 << 20;
    private const ulong VirtioRegisters = 0xfeb0_0000;
    private const int VirtioCount = 8;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly PeerFolder _folder = new();
    private readonly SharedMemoryFile _ram;
    private readonly PeerProcess _qemu;
    private readonly QtestClient _qtest;
    private readonly QtestTransport _transport;
    private readonly Signal _work = new();

    /// <summary>Starts QEMU; <see cref="BalloonDriver.TryRestart"/> starts the device.</summary>
    /// <param name="qemu">Which QEMU.</param>
    /// <param name="properties">The device's, behind its name.</param>
    /// <param name="options">The driver's.</param>
    /// <param name="arguments">More of QEMU's.</param>
    public QemuBalloon(
        string qemu, string properties = "free-page-reporting=on", BalloonDriverOptions? options = null, params IEnumerable<string> arguments)
    {
        options ??= new BalloonDriverOptions();
        _ram = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "qemu-ram", (nuint)RamBytes);
        Populate();
        WriteFirmware(_folder.PathOf("halt"));
        using System.Net.Sockets.Socket qtest = _folder.Listen("qtest");
        using System.Net.Sockets.Socket qmp = _folder.Listen("qmp");

        // One interrupt controller, so that all interrupts of the device come in there. The memory file is opened through our own descriptor.
        string ram = $"memory-backend-file,id=ram,size={RamBytes},share=on,mem-path=/proc/{Environment.ProcessId}/fd/{_ram.File}";
        _qemu = new PeerProcess(
            qemu,
            [
                "-M", "microvm,ioapic2=off,memory-backend=ram", "-m", $"{RamBytes >> 20}M", "-object", ram, "-accel", "tcg", "-S", "-nodefaults",
                "-display", "none", "-bios", _folder.PathOf("halt"), "-qtest", $"unix:{_folder.PathOf("qtest")}", "-qtest-log", "none", "-qmp",
                $"unix:{_folder.PathOf("qmp")}", "-global", "virtio-mmio.force-legacy=false", .. arguments, "-device",
                $"virtio-balloon-device,id=balloon,{properties}",
            ]);
        _qtest = new QtestClient(_qemu.Accept(qtest));
        Monitor = new QmpClient(_qemu.Accept(qmp));
        _qtest.InterceptInterrupts("/machine/ioapic");
        _transport = QtestTransport.Find(_qtest, VirtioRegisters, VirtioCount, BalloonLimits.DeviceId);
        GuestMemory memory = new(new GuestRegion(0, RamBytes, _ram.Mapping));
        Driver = new BalloonDriver(_transport, new BalloonControl(memory, ControlAddress, options), ArenaPages, gates: null, options)
        {
            WorkArrived = _work.Set,
        };
    }

    public BalloonDriver Driver { get; }

    public FakePages ArenaPages { get; } = new() { First = FirstPage, Limit = Pages };

    /// <summary>QEMU's management.</summary>
    public QmpClient Monitor { get; }

    /// <summary>What the kernel keeps of the machine's memory.</summary>
    public ulong FileBytes
    {
        get
        {
            Assert.Equal(Errno.None, LinuxDescriptors.Instance.Examine(_ram.File, out FileFacts facts));
            return facts.ResidentBytes;
        }
    }

    /// <summary>The balloon's size as QEMU sees it, in 4 KiB pages.</summary>
    public ulong ActualPages => (RamBytes - Monitor.Execute("query-balloon").GetProperty("actual").GetUInt64()) >> BalloonLimits.PfnShift;

    /// <summary>A block of the arena by its number there.</summary>
    public static PageRange Block(uint first, uint pages) => new(new Pfn(FirstPage + first), pages);

    /// <summary>What the host wants in the balloon, in 4 KiB pages.</summary>
    public void SetTarget(uint pages) => Monitor.Execute("balloon", new { value = RamBytes - ((ulong)pages << BalloonLimits.PfnShift) });

    /// <summary>A property of the device.</summary>
    public JsonElement Get(string property) => Monitor.Execute("qom-get", new { path = "/machine/peripheral/balloon", property });

    /// <summary>Sets one.</summary>
    public void Set(string property, object value) => Monitor.Execute("qom-set", new { path = "/machine/peripheral/balloon", property, value });

    /// <summary>Writes its number plus one into each page of the arena.</summary>
    public unsafe void Touch()
    {
        for (uint page = FirstPage; page < FirstPage + Pages; page++)
        {
            // Sound: the arena is part of the mapping.
            *(uint*)(_ram.Mapping + (nint)(page * 4096ul)) = page + 1;
        }
    }

    /// <summary>How many pages of a block still have what <see cref="Touch"/> wrote; the others must read zero. Once read, they are there again.</summary>
    public unsafe uint KeptPages(PageRange block)
    {
        uint kept = 0;
        for (uint page = block.Start.Value; page < block.Start.Value + block.Pages; page++)
        {
            uint word = *(uint*)(_ram.Mapping + (nint)(page * 4096ul));
            Assert.True(word == 0 || word == page + 1, $"page {page} reads {word}");
            kept += word == 0 ? 0u : 1u;
        }

        return kept;
    }

    /// <summary>One report, there and back.</summary>
    public SettleResult Report(params ReadOnlySpan<PageRange> batch)
    {
        Assert.True(Driver.React(batch));
        return Driver.Settle(Patience);
    }

    /// <summary>Does the driver's work, as its interrupts call for it, until something is so.</summary>
    public void ServiceUntil(Func<bool> isSo, string what)
    {
        Deadline deadline = new(TimeProvider.System, Patience);
        while (true)
        {
            while (Driver.Service())
            {
            }

            if (isSo())
            {
                return;
            }

            Assert.True(_work.Wait(deadline), $"no {what}; balloon {Driver.InflatedPages}, moving {Driver.MovingPages}, fault {Driver.Fault}, {_qemu.Output}");
        }
    }

    public void Dispose()
    {
        if (!_qemu.HasExited)
        {
            Driver.TryShutDown(new Deadline(TimeProvider.System, Patience));
        }

        _transport.Dispose();
        _qtest.Dispose();
        Monitor.Dispose();
        _qemu.Dispose();
        _ram.Dispose();
        _folder.Dispose();
    }

    /// <summary>What lies above the arena is there from the beginning, so that the file grows and shrinks by the arena's pages only.</summary>
    private unsafe void Populate()
    {
        for (ulong at = ControlAddress; at < RamBytes; at += 4096)
        {
            // Sound: inside the mapping.
            *(byte*)(_ram.Mapping + (nint)at) = 0;
        }
    }

    /// <summary>Where a machine is let run because only then its clock does: cli, hlt, and back to hlt. It stands at the reset vector, 16 bytes
    /// below the top of the firmware.</summary>
    private static void WriteFirmware(string path)
    {
        byte[] firmware = new byte[64 << 10];
        ReadOnlySpan<byte> halt = [0xfa, 0xf4, 0xeb, 0xfd];
        halt.CopyTo(firmware.AsSpan(firmware.Length - 16));
        File.WriteAllBytes(path, firmware);
    }
}
