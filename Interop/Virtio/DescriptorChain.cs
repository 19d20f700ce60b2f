using System;
using System.Runtime.CompilerServices;

namespace LowLevel.Interop.Virtio;

/// <summary>One buffer of a chain as the device found it, checked and translated.</summary>
/// <param name="Address">Guest address.</param>
/// <param name="Length">Bytes, not 0.</param>
/// <param name="DeviceWrites">The device may write it; else it may only read.</param>
/// <param name="Host">The buffer in this process.</param>
internal readonly record struct ChainBuffer(ulong Address, uint Length, bool DeviceWrites, nint Host);

/// <summary>A request as the device took it: a private copy of the chain, so that nothing is looked up on the ring again. One
/// object is filled again and again.</summary>
internal sealed class DescriptorChain
{
    private readonly ChainBuffer[] _buffers;
    private int _count;

    /// <summary>Room for chains of a queue of this size.</summary>
    public DescriptorChain(int queueSize)
    {
        _buffers = new ChainBuffer[queueSize];
    }

    /// <summary>Index of the first descriptor, by which the request is completed.</summary>
    public ushort Head { get; private set; }

    /// <summary>The buffers, readable ones first.</summary>
    public ReadOnlySpan<ChainBuffer> Buffers => _buffers.AsSpan(0, _count);

    /// <summary>Bytes that the device may read.</summary>
    public ulong ReadableBytes { get; private set; }

    /// <summary>Bytes that the device may write.</summary>
    public ulong WritableBytes { get; private set; }

    /// <summary>Copies the readable bytes, from the first on, to private memory: what is judged afterwards cannot change any
    /// more.</summary>
    /// <returns>Bytes copied: all of them, or as many as there is room for.</returns>
    public unsafe int CopyReadable(Span<byte> destination)
    {
        int copied = 0;
        foreach (ChainBuffer buffer in Buffers)
        {
            int length = (int)Math.Min(buffer.Length, (uint)(destination.Length - copied));
            if (buffer.DeviceWrites || length == 0)
            {
                break;
            }

            // Sound: the queue translated this buffer before it put it here.
            new ReadOnlySpan<byte>((void*)buffer.Host, length).CopyTo(destination[copied..]);
            copied += length;
        }

        return copied;
    }

    internal void Begin(ushort head)
    {
        Head = head;
        _count = 0;
        ReadableBytes = WritableBytes = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ChainFault Append(ulong address, uint length, bool deviceWrites, nint host)
    {
        if ((uint)_count >= (uint)_buffers.Length)
        {
            return ChainFault.ChainTooLong;
        }

        _buffers[_count++] = new ChainBuffer(address, length, deviceWrites, host);
        if (deviceWrites)
        {
            WritableBytes += length;
        }
        else if (WritableBytes == 0)
        {
            ReadableBytes += length;
        }
        else
        {
            _count--;
            return ChainFault.ReadableAfterWritable;
        }

        return ReadableBytes + WritableBytes <= 1ul << 32 ? ChainFault.None : ChainFault.TooManyBytes;
    }
}
