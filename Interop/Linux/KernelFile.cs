using System;
using System.IO;
using Microsoft.Win32.SafeHandles;

namespace LowLevel.Interop.Linux;

/// <summary>A small text file of the kernel's (/proc, a cgroup) that is read again and again, from a handle that stays open: a reading
/// leaves no garbage, because an idle process whose memory is watched must not grow by it. Not thread-safe.</summary>
internal sealed class KernelFile(string path) : IDisposable
{
    private SafeFileHandle? _file;
    private bool _isUnreadable;

    /// <summary>The file's text as it is now; empty where there is none (yet), or none that can be read.</summary>
    /// <param name="buffer">Where it goes; what does not fit is left out.</param>
    public ReadOnlySpan<byte> Read(Span<byte> buffer)
    {
        if (_isUnreadable)
        {
            return default;
        }

        try
        {
            if (_file is null && !File.Exists(path))
            {
                return default;
            }

            _file ??= File.OpenHandle(path);
            int length = 0;
            for (int read = -1; read != 0 && length < buffer.Length; length += read)
            {
                read = RandomAccess.Read(_file, buffer[length..], length);
            }

            return buffer[..length];
        }
        catch (IOException)
        {
            _isUnreadable = true; // not offered by this kernel (EOPNOTSUPP), or its group is gone: it will be so the next time
        }
        catch (UnauthorizedAccessException)
        {
            _isUnreadable = true;
        }

        return default;
    }

    /// <summary>Closes the handle.</summary>
    public void Dispose() => _file?.Dispose();
}
