using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>What the processor would say of an address, asked of the kernel: it copies a byte from there, or to there, and says EFAULT where a
/// program would get SIGSEGV, which ends a .NET process. And what lies behind it: /proc/self/mem, which no protection stops.</summary>
internal static class UserMemory
{
    /// <summary>Whether a program can read this byte.</summary>
    public static bool CanRead(nint address) => WithFile(fd => Native.pwrite(fd, address, 1, 0) == 1);

    /// <summary>Writes a byte as a program would. False: it would have ended.</summary>
    public static bool TryWrite(nint address, byte value) => WithFile(fd =>
    {
        byte[] one = [value];
        GCHandle pinned = GCHandle.Alloc(one, GCHandleType.Pinned);
        try
        {
            return Native.pwrite(fd, pinned.AddrOfPinnedObject(), 1, 0) == 1 && Native.pread(fd, address, 1, 0) == 1;
        }
        finally
        {
            pinned.Free();
        }
    });

    /// <summary>The bytes, whatever the protection.</summary>
    public static byte[] Peek(nint address, int bytes)
    {
        using FileStream memory = new("/proc/self/mem", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        byte[] read = new byte[bytes];
        memory.Position = address;
        memory.ReadExactly(read);
        return read;
    }

    /// <summary>Writes a byte, whatever the protection.</summary>
    public static void Poke(nint address, byte value)
    {
        using FileStream memory = new("/proc/self/mem", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        memory.Position = address;
        memory.WriteByte(value);
        memory.Flush();
    }

    /// <summary>Permissions, as "rw-p", of the mapping that an address lies in; "none" where it lies in none.</summary>
    public static string Permissions(nint address) =>
        Mappings().Where(m => m.Start <= (nuint)address && (nuint)address < m.End).Select(m => m.Permissions).SingleOrDefault() ?? "none";

    /// <summary>/proc/self/maps.</summary>
    public static IEnumerable<(nuint Start, nuint End, string Permissions)> Mappings() =>
        from line in File.ReadAllLines("/proc/self/maps")
        let fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
        let ends = fields[0].Split('-')
        select (Address(ends[0]), Address(ends[1]), fields[1]);

    private static nuint Address(string text) => nuint.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static bool WithFile(Func<int, bool> use)
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd("probe", 4096, out int fd));
        try
        {
            return use(fd);
        }
        finally
        {
            LinuxSystem.Instance.Close(fd);
        }
    }

    private static class Native
    {
        [DllImport("libc", ExactSpelling = true)]
        public static extern nint pread(int fd, nint address, nuint bytes, long offset);

        [DllImport("libc", ExactSpelling = true)]
        public static extern nint pwrite(int fd, nint address, nuint bytes, long offset);
    }
}
