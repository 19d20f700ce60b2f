using System;
using System.Runtime.InteropServices;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>A random live set: filled to a number of bytes, then each block replaced by one of another size, three times on average; sizes
/// from 16 to 8192 bytes, equally likely or with each doubling equally likely. Every byte is written. Bookkeeping of its own is there, and
/// touched, before the first allocation.</summary>
internal sealed class HeapMix
{
    /// <summary>How often each block is replaced, on average.</summary>
    public const int Replacements = 3;

    private const int Least = 16;
    private const int Most = 8192;

    private readonly HeapSource _source;
    private readonly bool _isUniform;
    private readonly nint[] _blocks;
    private readonly int[] _sizes;
    private SplitMix _random = new(7);

    public HeapMix(HeapSource source, string mix, long bytes)
    {
        _source = source;
        _isUniform = mix == Names[0];
        double mean = _isUniform ? (Least + Most) / 2.0 : (Most - Least) / Math.Log((double)Most / Least);
        _blocks = new nint[(int)(bytes / mean)];
        _sizes = new int[_blocks.Length];
        Array.Fill(_blocks, 1);
        Array.Fill(_sizes, 1);
        Array.Clear(_blocks);
        Array.Clear(_sizes);
    }

    public static string[] Names => ["uniform", "log-uniform"];

    /// <summary>Requested and held.</summary>
    public long LiveBytes { get; private set; }

    public void Run(bool free)
    {
        for (int i = 0; i < _blocks.Length; i++)
        {
            Take(i);
        }

        for (long i = 0; i < (long)_blocks.Length * Replacements; i++)
        {
            int at = _random.Below(_blocks.Length);
            Give(at);
            Take(at);
        }

        if (free)
        {
            FreeAll();
        }
    }

    public void FreeAll()
    {
        for (int i = 0; i < _blocks.Length; i++)
        {
            Give(i);
        }
    }

    private int RandomSize() =>
        _isUniform ? Least + _random.Below(Most - Least + 1) : (int)(Least * Math.Pow((double)Most / Least, _random.Fraction()));

    private unsafe void Take(int at)
    {
        int bytes = RandomSize();
        nint block = _source.Take(bytes);
        // Sound: the block is held and has so many bytes.
        NativeMemory.Fill((void*)block, (nuint)bytes, 0x5a);
        (_blocks[at], _sizes[at]) = (block, bytes);
        LiveBytes += bytes;
    }

    private void Give(int at)
    {
        _source.Give(_blocks[at]);
        LiveBytes -= _sizes[at];
    }
}

/// <summary>A contestant for blocks of any size.</summary>
internal abstract class HeapSource : IDisposable
{
    /// <summary>The contestant of this name; a malloc is whatever is preloaded.</summary>
    public static HeapSource Create(string name) => name switch
    {
        PeersContestants.OursHeap => new OurHeapSource(),
        "glibc" or "jemalloc" or "mimalloc" or "tcmalloc" => new MallocSource(),
        _ => throw new UsageException($"option --contestant: '{name}' is not allowed; allowed: {string.Join(", ", PeersContestants.HeapNames)}"),
    };

    public abstract nint Take(int bytes);

    public abstract void Give(nint block);

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing)
    {
    }

    private sealed class MallocSource : HeapSource
    {
        public override unsafe nint Take(int bytes) => (nint)NativeMemory.Alloc((nuint)bytes);

        public override unsafe void Give(nint block) => NativeMemory.Free((void*)block);
    }

    private sealed class OurHeapSource : HeapSource
    {
        private readonly PageArena _arena = PageArena.Create();
        private readonly NativeHeap _heap;

        public OurHeapSource() => _heap = new NativeHeap(_arena);

        public override unsafe nint Take(int bytes) => (nint)_heap.Allocate((nuint)bytes);

        public override unsafe void Give(nint block) => _heap.Free((void*)block);

        protected override void Dispose(bool disposing)
        {
            _heap.Verify();
            _heap.Dispose();
            _arena.Dispose();
            base.Dispose(disposing);
            base.Dispose(disposing);
        }
    }
}
