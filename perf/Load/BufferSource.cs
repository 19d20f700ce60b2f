using System;
using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A buffer in a load's hands: native memory or a managed array.</summary>
/// <param name="Address">Of native memory; 0 for an array.</param>
/// <param name="Array">Null for native memory.</param>
/// <param name="Bytes">As requested.</param>
internal readonly record struct HeldBuffer(nint Address, byte[]? Array, int Bytes)
{
    /// <summary>Its bytes. Sound as long as the buffer is held: the source gave Bytes bytes at Address.</summary>
    public unsafe Span<byte> Span => Array is null ? new Span<byte>((void*)Address, Bytes) : Array.AsSpan(0, Bytes);
}

/// <summary>Where a load's buffers come from: one contestant. Take and Give from any thread.</summary>
internal abstract class BufferSource : IDisposable
{
    /// <summary>The contestants of the plant, in the order in which they run.</summary>
    public static string[] Names => ["arena", "arena-untreated", "native-memory", "array-pool"];

    public static BufferSource Create(string name) => name switch
    {
        "arena" => new ArenaSource(new PageArenaOptions()),
        "arena-untreated" => new ArenaSource(new PageArenaOptions { Aeration = new AerationOptions { Enabled = false } }),
        "native-memory" => new NativeMemorySource(),
        "array-pool" => new ArrayPoolSource(),
        _ => throw new UsageException($"option --contestant: '{name}' is not allowed; allowed: {string.Join(", ", Names)}"),
    };

    /// <param name="bytes">A power of two, 4 KiB to 4 MiB.</param>
    public abstract HeldBuffer Take(int bytes);

    public abstract void Give(HeldBuffer buffer);

    /// <summary>The arena's own account; null where there is no arena.</summary>
    public virtual ArenaStatistics? Statistics => null;

    /// <summary>The arena's map; null where there is no arena.</summary>
    public virtual ArenaMap? Map => null;

    /// <summary>Checks what can be checked at rest.</summary>
    public virtual void Verify()
    {
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>This library.</summary>
internal sealed class ArenaSource(PageArenaOptions options) : BufferSource
{
    private readonly PageArena _arena = PageArena.Create(options);

    public override ArenaStatistics? Statistics => _arena.GetStatistics();

    public override ArenaMap? Map => _arena.GetMap();

    // Sound: the block is held until Give, and the caller touches Bytes bytes of it.
    public override unsafe HeldBuffer Take(int bytes) => new((nint)_arena.AllocatePages(BitOperations.Log2((uint)bytes) - 12), null, bytes);

    // Sound: each held buffer is given back once, by the load that took it.
    public override unsafe void Give(HeldBuffer buffer) => _arena.FreePages((void*)buffer.Address);

    public override void Verify() => _arena.Verify();

    protected override void Dispose(bool disposing)
    {
        _arena.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>malloc and free, as .NET offers them.</summary>
internal sealed class NativeMemorySource : BufferSource
{
    // Sound: as for the arena.
    public override unsafe HeldBuffer Take(int bytes) => new((nint)NativeMemory.Alloc((nuint)bytes), null, bytes);

    public override unsafe void Give(HeldBuffer buffer) => NativeMemory.Free((void*)buffer.Address);
}

/// <summary>The framework's shared pool of arrays.</summary>
internal sealed class ArrayPoolSource : BufferSource
{
    public override HeldBuffer Take(int bytes) => new(0, ArrayPool<byte>.Shared.Rent(bytes), bytes);

    public override void Give(HeldBuffer buffer) => ArrayPool<byte>.Shared.Return(buffer.Array!);
}

/// <summary>One mapping a buffer, unmapped when given back: compiles the load's code before the baseline is taken and leaves
/// nothing behind.</summary>
internal sealed class MappingSource : BufferSource
{
    public override HeldBuffer Take(int bytes)
    {
        Errno error = LinuxSystem.Instance.MapAnonymous((nuint)bytes, MemoryProtection.ReadWrite, out nint address);
        return error == Errno.None ? new HeldBuffer(address, null, bytes) : throw new MeasurementException($"mmap of {bytes} bytes: {error}");
    }

    public override void Give(HeldBuffer buffer) => LinuxSystem.Instance.Unmap(buffer.Address, (nuint)buffer.Bytes);
}
