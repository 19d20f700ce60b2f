using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Tests.Peers;

/// <summary>A virtio device behind the registers of virtio-mmio (VIRTIO 1.2, 4.2, version 2), each read and written through QEMU's qtest
/// protocol. A balloon's queues have the standard's numbers here and QEMU's there: QEMU numbers only those that its device offers.</summary>
internal sealed class QtestTransport : IVirtioTransport, IDisposable
{
    private const uint Magic = 0x74726976; // "virt"
    private const uint Version = 2;
    private const ulong ConfigSpace = 0x100;
    private const uint QueueUsed = 1;
    private const uint ConfigChanged = 2;

    private readonly QtestClient _qemu;
    private readonly ulong _registers;
    private readonly Thread _interrupts;
    private readonly Signal _raised = new();
    private readonly SortedSet<int> _queues = [];
    private volatile bool _isDisposed;

    private QtestTransport(QtestClient qemu, ulong registers)
    {
        _qemu = qemu;
        _registers = registers;
        qemu.InterruptRaised = _raised.Set;
        _interrupts = new Thread(Interrupts) { IsBackground = true, Name = "virtio-mmio interrupts" };
        _interrupts.Start();
    }

    private enum Register : ulong
    {
        MagicValue = 0x000,
        Version = 0x004,
        DeviceId = 0x008,
        DeviceFeatures = 0x010,
        DeviceFeaturesSelect = 0x014,
        DriverFeatures = 0x020,
        DriverFeaturesSelect = 0x024,
        QueueSelect = 0x030,
        QueueSizeMax = 0x034,
        QueueSize = 0x038,
        QueueReady = 0x044,
        QueueNotify = 0x050,
        InterruptStatus = 0x060,
        InterruptAcknowledge = 0x064,
        Status = 0x070,
        QueueDescriptors = 0x080,
        QueueAvailable = 0x090,
        QueueUsed = 0x0a0,
        ConfigGeneration = 0x0fc,
    }

    public Feature OfferedFeatures => (Feature)(Half(0) | ((ulong)Half(1) << 32));

    public DeviceStatus Status => (DeviceStatus)Read(Register.Status);

    public uint ConfigGeneration => Read(Register.ConfigGeneration);

    public Action<int>? QueueInterrupt { get; set; }

    public Action? ConfigInterrupt { get; set; }

    /// <summary>The device with this id behind one of so many sets of registers, 512 bytes each, that stand one behind the other.</summary>
    public static QtestTransport Find(QtestClient qemu, ulong first, int count, int deviceId)
    {
        for (ulong at = first; at < first + ((ulong)count * 512); at += 512)
        {
            bool isDevice = qemu.Read32(at) == Magic && qemu.Read32(at + (ulong)Register.Version) == Version;
            if (isDevice && qemu.Read32(at + (ulong)Register.DeviceId) == deviceId)
            {
                return new QtestTransport(qemu, at);
            }
        }

        throw new InvalidOperationException($"no virtio device {deviceId} of version {Version} from 0x{first:x} on");
    }

    public void AddStatus(DeviceStatus bits) => Write(Register.Status, (uint)(Status | bits));

    public void AcceptFeatures(Feature features)
    {
        for (uint half = 0; half < 2; half++)
        {
            Write(Register.DriverFeaturesSelect, half);
            Write(Register.DriverFeatures, unchecked((uint)((ulong)features >> (int)(32 * half))));
        }
    }

    public int QueueSizeMax(int queue)
    {
        int number = Number(queue);
        if (number < 0)
        {
            return 0;
        }

        Write(Register.QueueSelect, (uint)number);
        return (int)Read(Register.QueueSizeMax);
    }

    public void SetQueue(int queue, int size, VirtqueueAddresses addresses)
    {
        Write(Register.QueueSelect, (uint)Number(queue));
        Write(Register.QueueSize, (uint)size);
        Write64(Register.QueueDescriptors, addresses.Descriptors);
        Write64(Register.QueueAvailable, addresses.Available);
        Write64(Register.QueueUsed, addresses.Used);
        Write(Register.QueueReady, 1);
        _queues.Add(queue);
    }

    public void Notify(int queue) => Write(Register.QueueNotify, (uint)Number(queue));

    public uint ReadConfig(int offset) => _qemu.Read32(_registers + ConfigSpace + (ulong)offset);

    public void WriteConfig(int offset, uint value) => _qemu.Write32(_registers + ConfigSpace + (ulong)offset, value);

    public bool TryReset(in Deadline deadline)
    {
        Write(Register.Status, 0);
        while (Status != 0)
        {
            if (deadline.Left == TimeSpan.Zero)
            {
                return false;
            }
        }

        return true;
    }

    public void Dispose()
    {
        _isDisposed = true;
        _raised.Set();
        _interrupts.Join();
    }

    /// <summary>QEMU's number of a queue; -1 where it has none such.</summary>
    private int Number(int queue)
    {
        Feature offered = OfferedFeatures;
        (int Queue, Feature Feature)[] optional =
        [
            (BalloonLimits.StatsQueue, Feature.StatsQueue),
            (BalloonLimits.FreePageQueue, Feature.FreePageHint),
            (BalloonLimits.ReportingQueue, Feature.PageReporting),
        ];
        bool isThere = queue < BalloonLimits.StatsQueue || optional.Any(o => o.Queue == queue && (offered & o.Feature) != 0);
        return isThere ? queue - optional.Count(o => o.Queue < queue && (offered & o.Feature) == 0) : -1;
    }

    /// <summary>Between an interrupt that is acknowledged and the next the line must have been down, or the next is not told; so all its reasons
    /// are taken.</summary>
    private void Interrupts()
    {
        while (_raised.Wait(new Deadline(TimeProvider.System, Timeout.InfiniteTimeSpan)) && !_isDisposed)
        {
            for (uint reasons; (reasons = Read(Register.InterruptStatus)) != 0;)
            {
                Write(Register.InterruptAcknowledge, reasons);
                Deliver(reasons);
            }
        }
    }

    private void Deliver(uint reasons)
    {
        // Which queue it was, virtio-mmio does not say.
        foreach (int queue in (reasons & QueueUsed) != 0 ? _queues.ToArray() : [])
        {
            QueueInterrupt?.Invoke(queue);
        }

        if ((reasons & ConfigChanged) != 0)
        {
            ConfigInterrupt?.Invoke();
        }
    }

    private uint Half(uint half)
    {
        Write(Register.DeviceFeaturesSelect, half);
        return Read(Register.DeviceFeatures);
    }

    private void Write64(Register low, ulong value)
    {
        Write(low, unchecked((uint)value));
        Write(low + 4, (uint)(value >> 32));
    }

    private uint Read(Register register) => _qemu.Read32(_registers + (ulong)register);

    private void Write(Register register, uint value) => _qemu.Write32(_registers + (ulong)register, value);
}
