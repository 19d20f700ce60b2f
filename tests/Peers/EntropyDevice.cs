using System;
using System.Buffers;
using System.Threading;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Tests.Peers;

/// <summary>A source of random bytes (VIRTIO 1.2, 5.4): the least device that there is, so that a test of it is one of the queue alone. It
/// remembers all that it has written.</summary>
internal sealed class EntropyDevice : VirtioDevice
{
    private readonly Lock _guard = new();
    private readonly ArrayBufferWriter<byte> _served = new();
    private long _chains;

    public EntropyDevice(Feature offered, int queueSizeMax)
        : base(new GuestMemory(), offered, [queueSizeMax])
    {
    }

    /// <summary>Requests done.</summary>
    public long Chains => Interlocked.Read(ref _chains);

    /// <summary>The request in whose middle the device dies: its buffer is written, and it is never given back.</summary>
    public long DiesAt { get; init; } = long.MaxValue;

    /// <summary>Bytes written.</summary>
    public long Bytes
    {
        get
        {
            lock (_guard)
            {
                return _served.WrittenCount;
            }
        }
    }

    public override uint ConfigGeneration => 0;

    /// <summary>Whether it has written these bytes, one behind the other.</summary>
    public bool HasServed(ReadOnlySpan<byte> bytes)
    {
        lock (_guard)
        {
            return _served.WrittenSpan.IndexOf(bytes) >= 0;
        }
    }

    public override uint ReadConfig(int offset) => 0;

    public override void WriteConfig(int offset, uint value)
    {
    }

    protected override void OnReset()
    {
    }

    protected override unsafe bool Handle(int queue, DescriptorChain chain, out uint written)
    {
        written = 0;
        foreach (ChainBuffer buffer in chain.Buffers)
        {
            if (buffer.DeviceWrites)
            {
                // Sound: the queue translated this buffer before it put it here.
                Span<byte> bytes = new((void*)buffer.Host, checked((int)buffer.Length));
                Random.Shared.NextBytes(bytes);
                Note(bytes);
                written += buffer.Length;
            }
        }

        if (Interlocked.Increment(ref _chains) == DiesAt)
        {
            throw new InvalidOperationException("the device dies in the middle of a request");
        }

        return true;
    }

    private void Note(ReadOnlySpan<byte> bytes)
    {
        lock (_guard)
        {
            _served.Write(bytes);
        }
    }
}
