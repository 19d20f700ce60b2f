using System;
using System.IO;
using System.IO.MemoryMappedFiles;

namespace LowLevel.Perf;

/// <summary>The input under way, in a file that outlives the process: one that touches what it may not ends there and then.</summary>
internal sealed class LastInput : IDisposable
{
    private const int BytesMax = 4096;

    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly nint _bytes;

    public unsafe LastInput(string path)
    {
        Path = path;
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Create, null, BytesMax);
        _view = _file.CreateViewAccessor();
        byte* bytes = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref bytes);
        _bytes = (nint)bytes;
    }

    public string Path { get; }

    /// <summary>Keeps an input, in place of the one before.</summary>
    public unsafe void Keep(ReadOnlySpan<byte> input)
    {
        // Sound: the view is as long as that and pinned until this is disposed of.
        Span<byte> file = new((void*)_bytes, BytesMax);
        BitConverter.TryWriteBytes(file, input.Length);
        input.CopyTo(file[sizeof(int)..]);
    }

    /// <summary>The input of such a file.</summary>
    public static byte[] Read(byte[] file)
    {
        int length = BitConverter.ToInt32(file);
        return length >= 0 && length <= file.Length - sizeof(int) ? file.AsSpan(sizeof(int), length).ToArray() : [];
    }

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
