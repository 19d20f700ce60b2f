using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;

namespace LowLevel.Tests.Peers;

/// <summary>Writes an archive of the "new" cpio format, the one that Linux unpacks into its first file system
/// (Documentation/driver-api/early-userspace/buffer-format.rst): each entry is a header of hexadecimal text, the name and the content, the two
/// filled up to four bytes.</summary>
internal sealed class CpioWriter : IDisposable
{
    private const int FolderMode = 0x41ED; // S_IFDIR, rwxr-xr-x
    private const int FileMode = 0x81ED; // S_IFREG, rwxr-xr-x
    private const string End = "TRAILER!!!";

    private readonly Stream _stream;
    private readonly HashSet<string> _folders = new(StringComparer.Ordinal);
    private int _number;
    private long _length;

    /// <summary>An empty archive.</summary>
    /// <param name="stream">Where it goes; closed with the archive.</param>
    public CpioWriter(Stream stream) => _stream = stream;

    /// <summary>Adds a file, and the folders above it that are not there yet. Every file may be executed.</summary>
    public void AddFile(string path, ReadOnlySpan<byte> content)
    {
        AddFolder(Path.GetDirectoryName(path)!);
        Add(path, FileMode, content);
    }

    /// <summary>Adds a folder, and those above it.</summary>
    public void AddFolder(string path)
    {
        if (path.Length > 0 && _folders.Add(path))
        {
            AddFolder(Path.GetDirectoryName(path)!);
            Add(path, FolderMode, default);
        }
    }

    public void Dispose()
    {
        Add(End, 0, default);
        _stream.Dispose();
    }

    private void Add(string name, int mode, ReadOnlySpan<byte> content)
    {
        byte[] text = Encoding.ASCII.GetBytes(name + "\0");

        // inode, mode, user, group, links, time, size, device (two words), the device that it is (two words), length of the name, check sum
        int[] words = [++_number, mode, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, text.Length, 0];
        StringBuilder header = new("070701");
        Array.ForEach(words, word => header.Append(word.ToString("X8", CultureInfo.InvariantCulture)));
        Write(Encoding.ASCII.GetBytes(header.ToString()));
        Write(text);
        Fill();
        Write(content);
        Fill();
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        _stream.Write(bytes);
        _length += bytes.Length;
    }

    private void Fill() => Write(new byte[(int)(-_length & 3)]);
}
